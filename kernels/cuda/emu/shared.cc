/*
 * shared - which __shared__ variables a kernel has, by the symbols of the object it is in.
 *
 * They are static variables of the function, and GCC and Clang name those by
 * the Itanium C++ ABI: _ZZ, the mangled function without its _Z, E, the name.
 * So their sizes and addresses can be read from the table of symbols, which
 * this needs to be there (no strip).  A source that is compiled twice gives two
 * kernels of one name, each with its variables behind the name of its file.
 */
#include "kernels/cuda/emu/emu.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

struct variable {
	char *data;
	size_t bytes;
};

typedef std::vector<struct variable> variables;

/* A mapped object and its table of symbols. */
struct object {
	const char *file;
	size_t bytes;
	const Elf64_Sym *symbols;
	size_t n;
	const char *names;
};

static struct object object_open(const char *path)
{
	struct object o = {};
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		emu_abort("cannot open '%s' for its symbols", path);
	o.bytes = (size_t)st.st_size;
	o.file = (const char *)mmap(NULL, o.bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (o.file == MAP_FAILED)
		emu_abort("cannot map '%s' for its symbols", path);
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)o.file;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(o.file + head->e_shoff);
	for (int i = 0; i < head->e_shnum; i++)
		if (sections[i].sh_type == SHT_SYMTAB) {
			o.symbols = (const Elf64_Sym *)(o.file + sections[i].sh_offset);
			o.n = sections[i].sh_size / sizeof *o.symbols;
			o.names = o.file + sections[sections[i].sh_link].sh_offset;
		}
	if (!o.n)
		emu_abort("'%s' has no table of symbols; it must not be stripped", path);
	return o;
}

static size_t symbol_at(const struct object *o, uint64_t value)
{
	size_t i = 0;
	while (i < o->n && (ELF64_ST_TYPE(o->symbols[i].st_info) != STT_FUNC || o->symbols[i].st_value != value))
		i++;
	return i;
}

static bool is_file(const struct object *o, size_t i)
{
	return ELF64_ST_TYPE(o->symbols[i].st_info) == STT_FILE;
}

/* The local symbols of the file that symbol i came from: first..end-1. */
static void file_of(const struct object *o, size_t i, size_t *first, size_t *end)
{
	for (*first = i; *first > 0 && !is_file(o, *first); --*first)
		;
	for (*end = i; *end < o->n && !is_file(o, *end); ++*end)
		;
}

static variables find(const void *kernel)
{
	Dl_info info;
	variables found;
	if (!dladdr(kernel, &info))
		emu_abort("the address of a kernel is in no object");
	char *base = (char *)info.dli_fbase;
	/* dli_fname is as the program was called, if it is the program itself */
	struct object o = object_open(access(info.dli_fname, R_OK) == 0 ? info.dli_fname : "/proc/self/exe");
	size_t at = symbol_at(&o, (uint64_t)((const char *)kernel - base)), first, end;
	std::string name = at < o.n ? o.names + o.symbols[at].st_name : "";
	if (name.compare(0, 2, "_Z"))
		emu_abort("a kernel has no mangled name among the symbols of '%s'", info.dli_fname);
	std::string prefix = "_ZZ" + name.substr(2) + "E";
	file_of(&o, at, &first, &end);
	for (size_t i = first; i < end; i++) {
		const char *symbol = o.names + o.symbols[i].st_name;
		if (ELF64_ST_TYPE(o.symbols[i].st_info) == STT_OBJECT &&
		    !prefix.compare(0, prefix.npos, symbol, prefix.size()))
			found.push_back({base + o.symbols[i].st_value, (size_t)o.symbols[i].st_size});
	}
	munmap((void *)o.file, o.bytes);
	return found;
}

static const variables &of(const void *kernel)
{
	static std::map<const void *, variables> known;
	auto at = known.find(kernel);
	return at != known.end() ? at->second : known[kernel] = find(kernel);
}

size_t emu_static_shared(const void *kernel)
{
	size_t sum = 0;
	for (const struct variable &v : of(kernel))
		sum += v.bytes;
	return sum;
}

void emu_static_shared_fill(const void *kernel)
{
	for (const struct variable &v : of(kernel))
		memset(v.data, EMU_FRESH, v.bytes);
}
