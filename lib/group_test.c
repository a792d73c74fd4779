/* group: found by key, kept in the order in which they began. */
#include "lib/group.h"
#include "lib/test.h"

static const char *order(struct groups *g)
{
	static char out[500];
	size_t n = 0;
	out[0] = 0;
	while (groups_first(g)) {
		n += (size_t)snprintf(out + n, sizeof out - n, "%s=%s ", groups_first(g)->key,
		                      groups_first(g)->text.buf);
		groups_remove(g, groups_first(g));
	}
	return out;
}

static void add(struct groups *g, const char *key, const char *text)
{
	struct group *one = groups_get(g, key, strlen(key));
	one->n++;
	str_adds(&one->text, text);
}

int main(void)
{
	struct groups *g = groups_new();
	test_case("group: in the order in which they began");
	add(g, "b", "1");
	add(g, "a", "2");
	add(g, "b", "3");
	CHECK(groups_get(g, "b", 1)->n == 2 && groups_get(g, "b\0x", 3)->n == 0);
	groups_remove(g, groups_get(g, "b\0x", 3));
	CHECK_STR(order(g), "b=13 a=2 ");
	test_case("group: out of the middle, the first, the last, and begun again");
	add(g, "a", "1");
	add(g, "b", "2");
	add(g, "c", "3");
	add(g, "d", "4");
	groups_remove(g, groups_get(g, "b", 1));
	groups_remove(g, groups_get(g, "a", 1));
	groups_remove(g, groups_get(g, "d", 1));
	add(g, "a", "5");
	CHECK_STR(order(g), "c=3 a=5 ");
	test_case("group: thousands of them");
	char key[20];
	for (int i = 0; i < 20000; i++)
		snprintf(key, sizeof key, "k%d", i % 5000), add(g, key, "x");
	int wrong = 0;
	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof key, "k%d", i);
		struct group *one = groups_get(g, key, strlen(key));
		wrong += one->n != 4 || one->text.len != 4 || (i == 0) != (one == groups_first(g));
	}
	CHECK(wrong == 0);
	for (int i = 0; i < 5000; i++)
		groups_remove(g, groups_first(g));
	CHECK(!groups_first(g));
	groups_free(g);
	return test_done();
}
