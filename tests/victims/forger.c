/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * forger: a program that makes up records of updates that never were, to mislead whoever reads
 *   them.
 * Questions: work: what work(41) returns; `forge KIND [ARGUMENT]`: "ok" when the forgery lies
 * there; treasure: a word that forged records claim to be code; quit.
 *   plain            a record that checks out, with one site at `treasure`
 *   checksum         one bit of it is wrong
 *   version          of a later format
 *   counts           records whose every count or offset is as large as it can be, with right
 *                    checksums
 *   strings          all names of 16384 sites are one string of 12 MiB
 *   candidates       3000 mappings of 16 MiB that look like records
 *   crowd            5000 sound records
 *   dozens           1500 of them
 *   heavy            three of them, of 13 MiB each
 *   frames           unwind tables of 480 MiB, three times
 *   control FILE     the control page is a shared mapping of a file that this program may only read
 *   text             the control page is in the program's own code
 *   escapes          control characters in every string
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "injector/abi/ledger.h"
#include "tests/victims/line.h"

#define PAGE 4096u
#define MIB (1u << 20)

long work(long i);

static long (*volatile call_work)(long i) = work;
static volatile uint64_t treasure __attribute__((aligned(8))) = 0x1122334455667788;

__attribute__((noinline)) long work(long i)
{
	return i + 1;
}

/* A record in the making, in the memfd, writable while it is made. */
struct forgery {
	uint8_t *bytes;
	size_t n_bytes; /* of the file; the control page is its last one */
	size_t used;
	int fd;
	uint8_t *record;  /* as mapped for the reader */
	uint8_t *control;
	uint8_t *stubs;   /* the record once more: nobody runs them */
	struct dsu_ledger *head;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct forgery begin(const char *name, size_t n_bytes)
{
	struct forgery made = {.n_bytes = n_bytes + PAGE, .used = sizeof(struct dsu_ledger)};

	made.fd = memfd_create(name, 0);
	if (made.fd < 0 || ftruncate(made.fd, (off_t)made.n_bytes) < 0)
		fail("memfd");
	made.bytes = mmap(NULL, made.n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, made.fd, 0);
	made.record = mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, made.fd, 0);
	made.control = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_32BIT, made.fd,
			    (off_t)n_bytes);
	made.stubs = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, made.fd, 0);
	if (made.bytes == MAP_FAILED || made.record == MAP_FAILED || made.control == MAP_FAILED ||
	    made.stubs == MAP_FAILED)
		fail("mmap");
	made.head = (struct dsu_ledger *)made.bytes;
	*made.head = (struct dsu_ledger){
		.magic = DSU_LEDGER_MAGIC, .version = DSU_LEDGER_VERSION,
		.control = (uintptr_t)made.control, .n_members = 1,
	};
	return made;
}

static void *add(struct forgery *made, size_t bytes)
{
	void *at = made->bytes + made->used;

	made->used = (made->used + bytes + 7) & ~(size_t)7;
	if (made->used > made->n_bytes - PAGE)
		fail("no room");
	return at;
}

static uint32_t add_string(struct forgery *made, const char *text)
{
	char *at = add(made, strlen(text) + 1);

	strcpy(at, text);
	return (uint32_t)((uint8_t *)at - made->bytes);
}

static struct dsu_ledger_area *add_areas(struct forgery *made, uint32_t n)
{
	struct dsu_ledger_area *areas = add(made, n * sizeof(*areas));

	made->head->areas = (uint32_t)((uint8_t *)areas - made->bytes);
	made->head->n_areas = n;
	areas[0] = (struct dsu_ledger_area){
		made->head->control, PAGE, made->n_bytes - PAGE, PROT_READ | PROT_WRITE,
		DSU_AREA_CONTROL,
	};
	areas[1] = (struct dsu_ledger_area){
		(uintptr_t)made->record, made->n_bytes - PAGE, 0, PROT_READ, DSU_AREA_LEDGER,
	};
	areas[2] = (struct dsu_ledger_area){
		(uintptr_t)made->stubs, PAGE, 0, PROT_READ | PROT_EXEC, DSU_AREA_STUBS,
	};
	made->head->sites = made->head->areas; /* none so far */
	return areas;
}

static struct dsu_ledger_site *add_sites(struct forgery *made, uint32_t n)
{
	struct dsu_ledger_site *sites = add(made, n * sizeof(*sites));

	made->head->sites = (uint32_t)((uint8_t *)sites - made->bytes);
	made->head->n_sites = n;
	for (uint32_t i = 0; i < n; i++) {
		sites[i] = (struct dsu_ledger_site){
			.address = (uintptr_t)&treasure,
			.size = 8,
			.replacement = (uintptr_t)work,
			.replacement_size = 4,
			.stub = (uintptr_t)made->stubs,
			.stub_bytes = 8,
			.kind = 1,
			.n_writes = 1,
		};
		sites[i].writes[0].address = (uintptr_t)&treasure;
		sites[i].writes[0].n = 7;
		memcpy(sites[i].writes[0].after, (const void *)&treasure, 7);
	}
	return sites;
}

/* The reader may look from now on. */
static void publish(struct forgery *made, uint64_t generation, uint64_t phase)
{
	struct dsu_ledger *head = made->head;

	head->total_bytes = head->total_bytes ? head->total_bytes : (uint32_t)made->used;
	head->checksum = 0;
	if (head->total_bytes <= made->n_bytes)
		head->checksum = (uint32_t)crc32(0, made->bytes, head->total_bytes);
	*(struct dsu_control *)made->control = (struct dsu_control){
		.magic = DSU_CONTROL_MAGIC, .generation = generation, .phase = phase,
		.sequence = UINT64_MAX, .ledger = (uintptr_t)made->record,
	};
	if (munmap(made->bytes, made->n_bytes) < 0 || close(made->fd) < 0)
		fail("publish");
}

static struct forgery begin_named(const char *id, size_t n_bytes)
{
	char name[64];
	struct forgery made;

	snprintf(name, sizeof(name), "dsu:%.40s", id);
	made = begin(name, n_bytes);
	made.head->patch_id = add_string(&made, id);
	made.head->patch_version = add_string(&made, id);
	made.head->protocol = add_string(&made, id);
	made.head->patch_digest = add_string(&made, id);
	return made;
}

/* --- kinds -------------------------------------------------------------------------------- */

static void plain(const char *unused)
{
	struct forgery made = begin_named("forged", PAGE);
	struct dsu_ledger_site *site;

	add_areas(&made, 3);
	site = add_sites(&made, 1);
	site->name = add_string(&made, "treasure");
	publish(&made, 1, DSU_PHASE_ACTIVE);
}

static void checksum(const char *unused)
{
	struct forgery made = begin_named("forged", PAGE);
	uint8_t *bytes;

	add_areas(&made, 3);
	publish(&made, 1, DSU_PHASE_ACTIVE);
	/* The reader's mapping shows the file, so it changes with it. */
	bytes = made.record;
	if (mprotect(bytes, PAGE, PROT_READ | PROT_WRITE) < 0)
		fail("mprotect");
	bytes[sizeof(struct dsu_ledger) + 1] ^= 1;
	mprotect(bytes, PAGE, PROT_READ);
}

static void version(const char *unused)
{
	struct forgery made = begin_named("forged", PAGE);

	made.head->version = DSU_LEDGER_VERSION + 1;
	add_areas(&made, 3);
	publish(&made, 1, DSU_PHASE_ACTIVE);
}

static void counts(const char *unused)
{
	static const size_t fields[] = {
		offsetof(struct dsu_ledger, total_bytes), offsetof(struct dsu_ledger, patch_id),
		offsetof(struct dsu_ledger, patch_version), offsetof(struct dsu_ledger, areas),
		offsetof(struct dsu_ledger, n_areas), offsetof(struct dsu_ledger, sites),
		offsetof(struct dsu_ledger, n_sites), offsetof(struct dsu_ledger, control),
		offsetof(struct dsu_ledger, image_bytes),
	};
	static const uint32_t values[] = {UINT32_MAX, INT32_MAX, UINT32_MAX - 7, 8};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
			struct forgery made = begin_named("forged", PAGE);

			add_areas(&made, 3);
			add_sites(&made, 1);
			memcpy((uint8_t *)made.head + fields[i], &values[j], sizeof(values[j]));
			publish(&made, 1, DSU_PHASE_ACTIVE);
		}
}

static void strings(const char *unused)
{
	struct forgery made = begin_named("forged", 16 * MIB);
	struct dsu_ledger_site *sites;
	uint32_t name;
	char *text;

	add_areas(&made, 3);
	sites = add_sites(&made, 16384);
	text = add(&made, 12 * MIB);
	memset(text, 'x', 12 * MIB - 1);
	name = (uint32_t)((uint8_t *)text - made.bytes);
	for (size_t i = 0; i < 16384; i++)
		sites[i].name = sites[i].module = sites[i].build_id = sites[i].new_name = name;
	publish(&made, 1, DSU_PHASE_ACTIVE);
}

static void candidates(const char *unused)
{
	int fd = memfd_create("dsu:many", 0);
	const struct dsu_ledger head = {
		.magic = DSU_LEDGER_MAGIC, .version = DSU_LEDGER_VERSION, .total_bytes = 16 * MIB,
	};

	if (fd < 0 || ftruncate(fd, 16 * MIB) < 0 || pwrite(fd, &head, sizeof(head), 0) < 0)
		fail("memfd");
	/* Every other one stands alone, or the kernel would show one mapping. */
	for (int i = 0; i < 3000; i++)
		if (mmap(NULL, 16 * MIB, PROT_READ, i & 1 ? MAP_SHARED : MAP_PRIVATE, fd, 0) ==
		    MAP_FAILED)
			fail("mmap");
	close(fd);
}

static void crowd(const char *unused)
{
	for (int i = 0; i < 5000; i++) {
		struct forgery made = begin_named("forged", PAGE);

		add_areas(&made, 3);
		publish(&made, 1, DSU_PHASE_ACTIVE);
	}
}

/* As large as a sound one can be. */
static void heavy(const char *unused)
{
	for (int i = 0; i < 3; i++) {
		struct forgery made = begin_named("forged", 16 * MIB);
		struct dsu_ledger_site *sites;
		char name[600];

		add_areas(&made, 3);
		sites = add_sites(&made, 16384);
		memset(name, 'x', sizeof(name) - 1);
		name[sizeof(name) - 1] = '\0';
		for (size_t j = 0; j < 16384; j++)
			sites[j].name = add_string(&made, name);
		publish(&made, 1, DSU_PHASE_ACTIVE);
	}
}

static void dozens(const char *unused)
{
	for (int i = 0; i < 1500; i++) {
		struct forgery made = begin_named("forged", PAGE);

		add_areas(&made, 3);
		publish(&made, 1, DSU_PHASE_ACTIVE);
	}
}

static void frames(const char *unused)
{
	for (int i = 0; i < 3; i++) {
		struct forgery made = begin_named("forged", 16 * MIB);
		struct dsu_ledger_area *areas = add_areas(&made, 63);

		for (uint32_t j = 3; j < 63; j++)
			areas[j] = (struct dsu_ledger_area){
				(uintptr_t)made.record, 16 * MIB, 0,
				j & 1 ? PROT_READ | PROT_EXEC : PROT_READ,
				j & 1 ? DSU_AREA_STUBS : DSU_AREA_FRAMES,
			};
		publish(&made, 1, DSU_PHASE_ACTIVE);
	}
}

static void control(const char *path)
{
	struct forgery made = begin_named("forged", PAGE);
	int fd = open(path, O_RDONLY);
	struct dsu_ledger_area *areas;
	void *page;

	page = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		fail(path);
	/* The file is one that somebody prepared: it begins as a control page does. */
	made.head->control = (uintptr_t)page;
	areas = add_areas(&made, 3);
	areas[0].address = (uintptr_t)made.control;
	add_sites(&made, 1);
	publish(&made, 1, DSU_PHASE_ACTIVE);
	printf("0x%llx ", (unsigned long long)(uintptr_t)made.record);
}

static void text(const char *unused)
{
	struct forgery made = begin_named("forged", PAGE);
	struct dsu_ledger_area *areas;

	made.head->control = (uintptr_t)work & ~(uintptr_t)(PAGE - 1);
	areas = add_areas(&made, 4);
	areas[0].address = (uintptr_t)made.control;
	areas[3] = (struct dsu_ledger_area){(uintptr_t)work & ~(uintptr_t)(PAGE - 1), PAGE, 0,
					    PROT_READ | PROT_EXEC, DSU_AREA_STUBS};
	add_sites(&made, 1);
	publish(&made, 1, DSU_PHASE_ACTIVE);
}

static void escapes(const char *unused)
{
	static const char odd[] = "a\nb\033[2J\x9b"
				  "31m\xff\xc2\x9b\r\a";
	struct forgery made = begin_named(odd, PAGE);
	struct dsu_ledger_site *site;

	add_areas(&made, 3);
	site = add_sites(&made, 1);
	site->module = add_string(&made, odd);
	site->build_id = add_string(&made, odd);
	site->name = add_string(&made, odd);
	site->new_name = add_string(&made, odd);
	publish(&made, 1, DSU_PHASE_ACTIVE);
}

static const struct {
	const char *name;
	void (*forge)(const char *argument);
} kinds[] = {
	{"plain", plain},       {"checksum", checksum},     {"version", version},
	{"counts", counts},     {"strings", strings},       {"candidates", candidates},
	{"crowd", crowd},       {"frames", frames},         {"control", control},
	{"dozens", dozens},    {"heavy", heavy},
	{"text", text},         {"escapes", escapes},
};

static void forge(char *line)
{
	char *argument = strchr(line, ' ');

	if (argument)
		*argument++ = '\0';
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(line, kinds[i].name) == 0) {
			kinds[i].forge(argument);
			puts("ok");
			return;
		}
	puts("?");
}

int main(void)
{
	const char *line;

	line_ready();
	while ((line = line_next()))
		if (strcmp(line, "work") == 0)
			printf("%ld\n", call_work(41));
		else if (strcmp(line, "treasure") == 0)
			printf("0x%llx\n", (unsigned long long)treasure);
		else if (strncmp(line, "forge ", 6) == 0)
			forge((char *)line + 6);
		else
			puts("?");
	return 0;
}
