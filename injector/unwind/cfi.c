/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Call frame information as it stands in .eh_frame. Owns the reading of records and the proof that
 * the instructions of one record are harmless to libunwind, which trusts tables: register numbers
 * index its arrays, unknown opcodes desynchronise it. What always holds: no byte outside the table
 * is read, no loop is longer than the table. Refused is everything gcc, clang and hand-written
 * assembly with .cfi directives do not produce.
 */
#include <errno.h>
#include <string.h>

#include "injector/unwind/cfi.h"

enum {
	/* DWARF 4, 7.23, and the GNU extensions that libunwind knows. */
	CFA_NOP = 0x00,
	CFA_SET_LOC = 0x01,
	CFA_ADVANCE_LOC4 = 0x04,
	CFA_ADVANCE = 0x40,
	CFA_OFFSET = 0x80,
	CFA_RESTORE = 0xc0,
	N_REGISTERS = 17, /* what libunwind keeps: 16 general ones and the return address */
	REGISTER_RSP = 7,
	REGISTER_RETURN = 16,
	MAX_STATES = 64,
	MAX_RECORD = 1 << 20,
};

struct reader {
	const uint8_t *at;
	const uint8_t *end;
	inj_addr address; /* of end */
	bool bad;
};

const uint8_t *inj_constant_bytes(const struct inj_constant *constant, inj_addr address, size_t n)
{
	if (address < constant->address || n > constant->n ||
	    address - constant->address > constant->n - n)
		return NULL;
	if (constant->data)
		return constant->data + (address - constant->address);
	return inj_elf_bytes_at(constant->elf, address - constant->bias, n);
}

static uint64_t take(struct reader *reader, unsigned n)
{
	uint64_t value = 0;

	if ((size_t)(reader->end - reader->at) < n) {
		reader->bad = true;
		return 0;
	}
	memcpy(&value, reader->at, n);
	reader->at += n;
	return value;
}

static uint64_t take_uleb(struct reader *reader)
{
	uint64_t value = 0;

	/* Ten bytes hold 64 bits; libunwind shifts further bytes out, so longer ones would read
	 * differently there. */
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = (uint8_t)take(reader, 1);

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	reader->bad = true;
	return 0;
}

static int64_t take_sleb(struct reader *reader)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = (uint8_t)take(reader, 1);

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			if ((byte & 0x40) && shift + 7 < 64)
				value |= ~UINT64_C(0) << (shift + 7);
			return (int64_t)value;
		}
	}
	reader->bad = true;
	return 0;
}

static void skip(struct reader *reader, uint64_t n)
{
	if ((uint64_t)(reader->end - reader->at) < n)
		reader->bad = true;
	else
		reader->at += n;
}

static inj_addr address_of(const struct reader *reader)
{
	return reader->address - (inj_addr)(reader->end - reader->at);
}

/*
 * Stand at the body of the record at an address. Nobody writes the 64-bit format into .eh_frame.
 * ret_zero: it is the terminator.
 */
static bool open_record(const struct inj_constant *table, inj_addr address, struct reader *ret,
			bool *ret_zero)
{
	const uint8_t *head = inj_constant_bytes(table, address, 4);
	uint32_t length = 0;

	if (head)
		memcpy(&length, head, sizeof(length));
	*ret_zero = head && length == 0;
	if (!length || length > MAX_RECORD)
		return false;
	const uint8_t *body = inj_constant_bytes(table, address + 4, length);

	if (!body)
		return false;
	*ret = (struct reader){body, body + length, address + 4 + length, false};
	return true;
}

/* Only pointer encodings that need no base but their own place. 0xff: omitted. */
static unsigned encoded_size(uint8_t encoding)
{
	switch (encoding & 0x7f) {
	case 0x00:
	case 0x10:
	case 0x04:
	case 0x14:
	case 0x0c:
	case 0x1c:
		return 8;
	case 0x03:
	case 0x13:
	case 0x0b:
	case 0x1b:
		return 4;
	case 0x02:
	case 0x12:
	case 0x0a:
	case 0x1a:
		return 2;
	default:
		return 0;
	}
}

static inj_addr take_encoded(struct reader *reader, uint8_t encoding)
{
	inj_addr place = address_of(reader);
	unsigned size = encoded_size(encoding);
	uint64_t value = take(reader, size);

	if (!size || (encoding & 0x80))
		reader->bad = true;
	if ((encoding & 0x0f) == 0x0b)
		value = (uint64_t)(int64_t)(int32_t)value;
	else if ((encoding & 0x0f) == 0x0a)
		value = (uint64_t)(int64_t)(int16_t)value;
	/* libunwind takes 0 as absolute whatever the encoding says. */
	return (encoding & 0x70) == 0x10 && value ? value + place : value;
}

struct cie {
	uint64_t code_align;
	int64_t data_align;
	uint8_t fde_encoding;
	uint8_t lsda_encoding;
	bool sized;
	bool signal;
	struct reader program;
};

static bool read_augmentation(struct reader *reader, const char *letters, struct cie *ret)
{
	if (!letters[0])
		return true;
	if (letters[0] != 'z')
		return false;
	ret->sized = true;
	uint64_t length = take_uleb(reader);
	struct reader data = *reader;

	skip(reader, length);
	data.end = reader->at;
	for (const char *letter = letters + 1; *letter; letter++) {
		uint8_t encoding;

		switch (*letter) {
		case 'R':
			ret->fde_encoding = (uint8_t)take(&data, 1);
			break;
		case 'L':
			ret->lsda_encoding = (uint8_t)take(&data, 1);
			break;
		case 'P':
			encoding = (uint8_t)take(&data, 1);
			if (!encoded_size(encoding))
				return false;
			skip(&data, encoded_size(encoding));
			break;
		case 'S':
			ret->signal = true;
			break;
		default:
			return false;
		}
	}
	/* libunwind starts the instructions where the letters it knows end, not where the length
	 * says. */
	return !data.bad && data.at == reader->at;
}

static int read_cie(const struct inj_constant *table, inj_addr address, struct cie *ret)
{
	struct reader reader;
	bool zero;
	char letters[8] = "";
	size_t n = 0;

	memset(ret, 0, sizeof(*ret));
	ret->lsda_encoding = 0xff;
	if (!open_record(table, address, &reader, &zero) || take(&reader, 4) != 0)
		return -EBADMSG;
	uint8_t version = (uint8_t)take(&reader, 1);
	if (version != 1 && version != 3)
		return -EBADMSG;
	for (;;) {
		letters[n] = (char)take(&reader, 1);
		if (!letters[n])
			break;
		if (++n == sizeof(letters))
			return -EBADMSG;
	}
	ret->code_align = take_uleb(&reader);
	ret->data_align = take_sleb(&reader);
	uint64_t column = version == 1 ? take(&reader, 1) : take_uleb(&reader);
	if (reader.bad || column != REGISTER_RETURN || !read_augmentation(&reader, letters, ret) ||
	    reader.bad)
		return -EBADMSG;
	ret->program = reader;
	return 0;
}

static int read_fde(const struct inj_constant *table, inj_addr fde, struct inj_cfi *ret,
		    struct cie *ret_cie)
{
	struct reader reader;
	bool zero;

	if (!open_record(table, fde, &reader, &zero))
		return zero ? -ENOENT : -EBADMSG;
	inj_addr place = address_of(&reader);
	uint64_t offset = take(&reader, 4);
	if (reader.bad)
		return -EBADMSG;
	if (!offset)
		return -ENOENT;
	if (offset > place || read_cie(table, place - offset, ret_cie))
		return -EBADMSG;
	inj_addr start = take_encoded(&reader, ret_cie->fde_encoding);
	uint64_t length = take_encoded(&reader, ret_cie->fde_encoding & 0x0f);
	if (ret_cie->sized)
		skip(&reader, take_uleb(&reader));
	else if (ret_cie->lsda_encoding != 0xff)
		return -EBADMSG;
	if (reader.bad || !length || start + length < start)
		return -EBADMSG;
	*ret = (struct inj_cfi){
		.fde = fde,
		.code = {start, start + length},
		.cie = place - offset,
		.program = address_of(&reader),
		.end = reader.address,
		.flags = (ret_cie->signal ? INJ_CFI_SIGNAL : 0) |
			 (ret_cie->lsda_encoding != 0xff ? INJ_CFI_HANDLERS : 0),
	};
	return 0;
}

int inj_cfi_read(const struct inj_constant *table, inj_addr fde, struct inj_cfi *ret)
{
	struct cie cie;

	return read_fde(table, fde, ret, &cie);
}

/* What running the instructions needs to know. */
struct program {
	struct reader reader;
	const struct cie *cie;
	unsigned n_states;
	bool has_cfa;
	unsigned *flags;
};

static uint64_t take_register(struct program *program)
{
	uint64_t number = take_uleb(&program->reader);

	if (number >= N_REGISTERS)
		program->reader.bad = true;
	return number;
}

static void note_rule(struct program *program, uint64_t number, bool usual)
{
	if (number == REGISTER_RETURN && !usual)
		*program->flags |= INJ_CFI_MOVED_RETURN;
	if (number == REGISTER_RSP)
		*program->flags |= INJ_CFI_MOVED_STACK;
}

static void offset_rule(struct program *program, uint64_t number, int64_t factor)
{
	note_rule(program, number, factor * program->cie->data_align == -8);
}

static void skip_block(struct program *program)
{
	skip(&program->reader, take_uleb(&program->reader));
}

static void check_one(struct program *program)
{
	struct reader *reader = &program->reader;
	uint8_t op = (uint8_t)take(reader, 1);

	if ((op & 0xc0) == CFA_OFFSET || (op & 0xc0) == CFA_RESTORE) {
		if ((op & 0x3f) >= N_REGISTERS)
			reader->bad = true;
		else if ((op & 0xc0) == CFA_OFFSET)
			offset_rule(program, op & 0x3f, (int64_t)(take_uleb(reader) & INT32_MAX));
		return;
	}
	if ((op & 0xc0) == CFA_ADVANCE) {
		reader->bad |= !program->has_cfa;
		return;
	}
	switch (op) {
	case 0x00: /* nop */
		break;
	case 0x02:
	case 0x03: /* advance_loc1, 2 */
		skip(reader, op - 1u);
		break;
	case 0x04: /* advance_loc4 */
		skip(reader, 4);
		break;
	case 0x05: /* offset_extended */ {
		uint64_t number = take_register(program);

		offset_rule(program, number, (int64_t)(take_uleb(reader) & INT32_MAX));
		break;
	}
	case 0x06: /* restore_extended */
		take_register(program);
		break;
	case 0x07: /* undefined: for the return address the end of the stack, which is not an odd
		      place */
		note_rule(program, take_register(program), true);
		break;
	case 0x08: /* same_value */
		note_rule(program, take_register(program), false);
		break;
	case 0x09: /* register */
		note_rule(program, take_register(program), false);
		take_register(program);
		break;
	case 0x0a: /* remember_state */
		if (++program->n_states > MAX_STATES)
			reader->bad = true;
		break;
	case 0x0b: /* restore_state */
		if (!program->n_states--)
			reader->bad = true;
		break;
	case 0x0c:
	case 0x12: /* def_cfa, def_cfa_sf */
		take_register(program);
		take_uleb(reader);
		program->has_cfa = true;
		break;
	case 0x0d: /* def_cfa_register */
		take_register(program);
		break;
	case 0x0e:
	case 0x13:
	case 0x2e: /* def_cfa_offset, def_cfa_offset_sf, GNU_args_size */
		take_uleb(reader);
		break;
	case 0x0f: /* def_cfa_expression */
		skip_block(program);
		program->has_cfa = true;
		break;
	case 0x10: /* expression */
		note_rule(program, take_register(program), false);
		skip_block(program);
		break;
	case 0x11: /* offset_extended_sf */ {
		uint64_t number = take_register(program);

		offset_rule(program, number, (int32_t)take_sleb(reader));
		break;
	}
	case 0x16: /* val_expression */ {
		uint64_t number = take_register(program);

		note_rule(program, number, false);
		if (number == REGISTER_RSP)
			*program->flags |= INJ_CFI_STACK_VALUE;
		skip_block(program);
		break;
	}
	case 0x2f: /* GNU_negative_offset_extended */
		note_rule(program, take_register(program), false);
		take_uleb(reader);
		break;
	default: /* set_loc, val_offset and whatever libunwind would skip without its operands */
		reader->bad = true;
	}
	/* The CFA rule of glibc's signal trampoline stands first in the FDE, not in its CIE. */
	if (!program->has_cfa && op)
		reader->bad = true;
}

static int check_program(struct program *program)
{
	while (program->reader.at < program->reader.end && !program->reader.bad)
		check_one(program);
	return program->reader.bad ? -EBADMSG : 0;
}

int inj_cfi_check(const struct inj_constant *table, struct inj_cfi *cfi)
{
	struct cie cie;
	struct inj_cfi again;
	int r = read_fde(table, cfi->fde, &again, &cie);

	if (r < 0)
		return -EBADMSG;
	struct program program = {.reader = cie.program, .cie = &cie, .flags = &again.flags};

	if (!cie.code_align || cie.code_align > 16 || cie.data_align < -64 || cie.data_align > 64)
		return -EBADMSG;
	r = check_program(&program);
	/* libunwind runs each program with a state stack of its own. */
	if (r < 0 || program.n_states)
		return -EBADMSG;
	bool zero;

	if (!open_record(table, again.fde, &program.reader, &zero))
		return -EBADMSG;
	skip(&program.reader, again.program - address_of(&program.reader));
	r = check_program(&program);
	if (r < 0 || !program.has_cfa)
		return -EBADMSG;
	*cfi = again;
	return 0;
}

int inj_cfi_next(const struct inj_constant *table, inj_addr *position, struct inj_cfi *ret)
{
	struct reader reader;
	bool zero;
	struct cie cie;
	inj_addr at = *position;

	if (!open_record(table, at, &reader, &zero))
		return 0;
	if (read_fde(table, at, ret, &cie))
		ret->code = (struct inj_range){0, 0};
	*position = reader.address;
	return 1;
}

bool inj_cfi_begins_framed(const struct inj_constant *table, const struct inj_cfi *cfi)
{
	const uint8_t *first =
		cfi->program < cfi->end ? inj_constant_bytes(table, cfi->program, 1) : NULL;

	/* A function first goes on by some instructions, or needs nothing but padding. */
	return first && *first != CFA_NOP && (*first & 0xc0) != CFA_ADVANCE &&
	       (*first < CFA_SET_LOC || *first > CFA_ADVANCE_LOC4);
}

bool inj_cfi_has_signal_frames(const struct inj_constant *table)
{
	inj_addr position = table->address;
	struct reader reader;
	bool zero;
	struct cie cie;

	while (open_record(table, position, &reader, &zero)) {
		if (take(&reader, 4) == 0 && !reader.bad && !read_cie(table, position, &cie) &&
		    cie.signal)
			return true;
		position = reader.address;
	}
	return false;
}
