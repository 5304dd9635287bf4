/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Unpacks .gnu_debugdata, the xz-compressed small symbol table that some distributions leave in
 * stripped files. The stream is foreign: output and the decoder's memory are bounded, and the
 * result goes through the same checks as any ELF file.
 */
#include <lzma.h>
#include <string.h>

#include "injector/symbol/symbol-priv.h"

#define MAX_OUTPUT_BYTES  (64UL << 20)
#define MAX_DECODER_BYTES (128UL << 20)
#define FIRST_BYTES       (256UL << 10)

/* Make room for more output. Return: 0, -EFBIG at the bound, -ENOMEM. */
static int grow(lzma_stream *stream, uint8_t **buffer, size_t *size)
{
	size_t bigger = *size ? 2 * *size : FIRST_BYTES;

	if (bigger > MAX_OUTPUT_BYTES)
		return -EFBIG;
	uint8_t *grown = realloc(*buffer, bigger);

	if (!grown)
		return -ENOMEM;
	stream->next_out = grown + stream->total_out;
	stream->avail_out = bigger - stream->total_out;
	*buffer = grown;
	*size = bigger;
	return 0;
}

static int unpack(lzma_stream *stream, uint8_t **ret_buffer, size_t *ret_length)
{
	INJ_FREE uint8_t *buffer = NULL;
	size_t size = 0;
	lzma_ret state = LZMA_OK;

	while (state == LZMA_OK) {
		if (stream->avail_out == 0) {
			int r = grow(stream, &buffer, &size);

			if (r < 0)
				return r;
		}
		state = lzma_code(stream, LZMA_FINISH);
	}
	if (state != LZMA_STREAM_END)
		return -EBADMSG;
	*ret_length = stream->total_out;
	*ret_buffer = INJ_TAKE(buffer);
	return 0;
}

/* Return: 0; -ENOENT when the module has none; -EBADMSG, -EFBIG, -ENOMEM when it is unusable. */
int minidebug_open(const struct inj_module *module, struct inj_elf **ret)
{
	const struct inj_elf_section *section =
		inj_elf_section_named(module->elf, ".gnu_debugdata");
	lzma_stream stream = LZMA_STREAM_INIT;
	uint8_t *buffer;
	size_t length;

	if (!section || !section->bytes)
		return -ENOENT;
	if (lzma_stream_decoder(&stream, MAX_DECODER_BYTES, 0) != LZMA_OK)
		return -ENOMEM;
	stream.next_in = section->bytes;
	stream.avail_in = section->size;
	int r = unpack(&stream, &buffer, &length);

	lzma_end(&stream);
	if (r < 0)
		return r;
	return inj_elf_open_owned(buffer, length, module->name, ret, NULL) ? -EBADMSG : 0;
}
