/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the bytes of an opened file. A mapping of a foreign file is no option: its owner may
 * truncate it and every access becomes a SIGBUS in a process that holds somebody else's threads.
 * Reading all of it costs 0.3 ms a megabyte, of which an update needs a few per cent. So anonymous
 * memory of the file's size is reserved, and chunks are filled with pread(2) when an accessor first
 * asks for them. Always holds: pointers into the store stay valid and their bytes constant until
 * the file is closed, a chunk is read once, and nothing outside [0, length) is handed out. A file
 * that became shorter yields NULL for the missing part.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "injector/base/io.h"
#include "injector/elf/elf-priv.h"

#define CHUNK_SHIFT 14
#define CHUNK_BYTES (UINT64_C(1) << CHUNK_SHIFT)
/* Stays in a processor's second cache. */
#define PASS_BYTES (192u << 10)

int elf_store_from_fd(struct elf_store *store, int fd, size_t length)
{
	size_t n_chunks = (length >> CHUNK_SHIFT) + 1;

	*store = (struct elf_store){.fd = -1, .length = length, .mapped = true};
	store->bytes = mmap(NULL, length, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (store->bytes == MAP_FAILED) {
		store->bytes = NULL;
		return -errno;
	}
	store->present = calloc(n_chunks / 64 + 1, sizeof(*store->present));
	if (!store->present)
		return -ENOMEM;
	store->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return store->fd < 0 ? -errno : 0;
}

void elf_store_deinit(struct elf_store *store)
{
	if (store->mapped && store->bytes)
		munmap(store->bytes, store->length);
	else
		free(store->bytes);
	free(store->present);
	inj_close_guard(&store->fd);
	*store = (struct elf_store){.fd = -1};
}

static bool chunk_present(const struct elf_store *store, uint64_t chunk)
{
	return store->present[chunk / 64] >> (chunk % 64) & 1;
}

/* Fill chunks [first, end), none of which is present. */
static bool read_chunks(struct elf_store *store, uint64_t first, uint64_t end)
{
	size_t from = first << CHUNK_SHIFT;
	size_t to = end << CHUNK_SHIFT;

	if (to > store->length)
		to = store->length;
	while (from < to) {
		ssize_t n = pread(store->fd, store->bytes + from, to - from, (off_t)from);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		from += (size_t)n;
	}
	for (uint64_t chunk = first; chunk < end; chunk++)
		store->present[chunk / 64] |= UINT64_C(1) << (chunk % 64);
	return true;
}

static bool load_range(struct elf_store *store, uint64_t offset, uint64_t length)
{
	uint64_t chunk = offset >> CHUNK_SHIFT;
	uint64_t end = ((offset + length - 1) >> CHUNK_SHIFT) + 1;

	while (chunk < end) {
		if (chunk_present(store, chunk)) {
			chunk++;
			continue;
		}
		uint64_t first = chunk;

		while (chunk < end && !chunk_present(store, chunk))
			chunk++;
		if (!read_chunks(store, first, chunk))
			return false;
	}
	return true;
}

/* Bytes [offset, offset + length) of the file; NULL when they are not inside it. A sparse file
 * costs its owner nothing, so one piece is bounded. */
const uint8_t *elf_view(const struct inj_elf *elf, uint64_t offset, uint64_t length)
{
	struct elf_store *store = &elf_cache(elf)->store;

	if (!elf_inside(offset, length, store->length) || length > INJ_ELF_MAX_PIECE)
		return NULL;
	if (store->fd >= 0 && length && !load_range(store, offset, length))
		return NULL;
	return store->bytes + offset;
}

/* The NUL-terminated string at offset, which must end before `end`; else NULL. */
const char *elf_string(const struct inj_elf *elf, uint64_t offset, uint64_t end)
{
	uint64_t at = offset;

	while (at < end) {
		/* Piece by piece: the end of a long table need not be read for one name. */
		uint64_t piece = CHUNK_BYTES - (at & (CHUNK_BYTES - 1));

		if (piece > end - at)
			piece = end - at;
		const uint8_t *bytes = elf_view(elf, at, piece);

		if (!bytes)
			return NULL;
		if (memchr(bytes, 0, piece))
			return (const char *)elf->store.bytes + offset;
		at += piece;
	}
	return NULL;
}

/* Pieces of `step` new bytes, rounded up to nearly PASS_BYTES, each behind `overlap` old ones. */
static int pass_file(const struct elf_store *store, struct elf_extent all, size_t step,
		     size_t overlap, inj_elf_pass_fn pass, void *context)
{
	INJ_FREE uint8_t *buffer = malloc(overlap + PASS_BYTES);
	const size_t piece = PASS_BYTES / step * step;
	size_t kept = 0;

	if (!buffer)
		return -ENOMEM;
	for (uint64_t at = 0; at < all.bytes;) {
		const size_t n = all.bytes - at < piece ? (size_t)(all.bytes - at) : piece;
		int r = inj_pread_full(store->fd, buffer + kept, n, (off_t)(all.offset + at));

		if (r < 0)
			return r == -ENODATA ? -EIO : r;
		if (!pass(context, buffer, kept + n, at - kept))
			return 0;
		at += n;
		if (kept + n > overlap)
			memmove(buffer, buffer + kept + n - overlap, overlap);
		kept = kept + n > overlap ? overlap : kept + n;
	}
	return 0;
}

/* Show bytes [offset, offset + length) of the file to `pass`, keeping nothing. */
int elf_pass(const struct inj_elf *elf, uint64_t offset, uint64_t length, size_t step,
	     size_t overlap, inj_elf_pass_fn pass, void *context)
{
	const struct elf_store *store = &elf->store;

	if (!elf_inside(offset, length, store->length) || overlap > INJ_ELF_MAX_OVERLAP)
		return -EIO;
	if (store->fd >= 0)
		return pass_file(store, (struct elf_extent){ offset, length }, step, overlap, pass,
				 context);
	if (length)
		pass(context, store->bytes + offset, length, 0);
	return 0;
}
