/*
 * copy - copies to shared memory that do not wait (cp.async).
 *
 * A copy may be done as soon as it is asked for, and need not be before its
 * thread waits for its group.  Each is done at one of these two, by chance: who
 * reads before waiting finds the old numbers, and who still reads what is being
 * overwritten finds the new ones.
 */
#include <vector>

#include "kernels/cuda/emu/emu.h"

struct copy {
	void *to;
	const void *from;
	int bytes, group;
};

struct copies {
	std::vector<struct copy> late;
	int groups; /* ended */
};

static struct copies of_thread[EMU_MAX_THREADS];
static int used; /* since the last block */

static void copy_do(const struct copy &c)
{
	char bytes[16] = {};
	memcpy(bytes, c.from, (size_t)c.bytes);
	memcpy(c.to, bytes, sizeof bytes);
}

void emu_copy_async(void *shared, const void *global, int bytes)
{
	struct copies &mine = of_thread[emu_thread()];
	used = 1;
	struct copy c = {shared, global, bytes, mine.groups};
	if ((uintptr_t)shared % 16 || (uintptr_t)global % 16 || bytes < 0 || bytes > 16)
		emu_abort("cp.async: of %d bytes to %p from %p; at most 16 and aligned to 16", bytes, shared, global);
	if (bytes > 0 && !emu_is_device(global, (size_t)bytes))
		emu_abort("cp.async: %d bytes at %p are not in an allocation of the device", bytes, global);
	if (emu_below(2))
		copy_do(c);
	else
		mine.late.push_back(c);
}

void emu_copy_commit(void)
{
	used = 1;
	of_thread[emu_thread()].groups++;
}

void emu_copy_wait(int pending)
{
	struct copies &mine = of_thread[emu_thread()];
	size_t kept = 0;
	for (const struct copy &c : mine.late)
		if (c.group < mine.groups - pending)
			copy_do(c);
		else
			mine.late[kept++] = c;
	mine.late.resize(kept);
}

void emu_copies_forget(void)
{
	for (int i = 0; used && i < EMU_MAX_THREADS; i++) {
		of_thread[i].late.clear();
		of_thread[i].groups = 0;
	}
	used = 0;
}
