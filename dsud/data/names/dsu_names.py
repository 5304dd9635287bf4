# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names for the new code of a process, for gdb and perf.

Owns the reading of dsud's records in a process (injector/abi/ledger.h) and the writing of small ELF
files that hold their names: a symbol for every replacement function and every stub, the code
itself, and its unwind tables. Nothing but the process is needed, neither the daemon nor the patch
file. The process is only read. A record is foreign data: one whose checksum, sizes or offsets are
wrong is refused with BadRecord and yields no file.
"""
import re
import struct
import zlib

LEDGER_MAGIC = 0x3152474C4B555344
LEDGER_VERSION = 1
LEDGER = struct.Struct('<Q2I16sQ10I5Q2I32x')
AREA = struct.Struct('<3Q2I')
SITE = struct.Struct('<6Q4IH6B160x')
CHECKSUM_AT = 40
MAX_RECORD_BYTES = 16 << 20
MAX_ALL_RECORD_BYTES = 64 << 20  # of all records of a process, sound or not
MAX_AREAS = 1024
MAX_CODE_BYTES = 256 << 20
MAX_READ_BYTES = 1 << 30  # of one process in all
MAX_OFFSET = 1 << 32
MAX_NAME_BYTES = 4096
STUBS, IMAGE, FRAMES, PADS = 3, 4, 6, 7
PROT_EXEC = 4
MAPPING = re.compile(r'([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ (\d+) +(/memfd:dsu:.*)')


class BadRecord(Exception):
    """A record that is not what dsud writes; the text says what is wrong with it."""


def of_struct(kind, data, offset, count=1):
    """The `count` structures of `kind` from `offset` on."""
    if offset < 0 or offset + kind.size * count > len(data):
        raise BadRecord(f'{count} entries at offset {offset} do not fit into {len(data)} bytes')
    return [kind.unpack_from(data, offset + kind.size * i) for i in range(count)]


def printable(text):
    """Foreign text that cannot command a terminal."""
    return ''.join(c if c.isprintable() else '?' for c in text)


def text_at(data, offset):
    end = data.find(b'\0', offset, offset + MAX_NAME_BYTES)
    if end < 0:
        raise BadRecord(f'the name at offset {offset} does not end')
    return printable(data[offset:end].decode('utf-8', 'replace'))


class Memory:
    """What a process has in memory. Needs the right to trace it."""

    def __init__(self, pid):
        self.path = f'/proc/{pid}/mem'
        self.file = open(self.path, 'rb', buffering=0)
        self.left = MAX_READ_BYTES

    def read(self, address, size):
        parts = []
        self.left -= size
        if self.left < 0:
            raise BadRecord(f'its records speak of more than {MAX_READ_BYTES} bytes')
        while size > 0:
            try:
                self.file.seek(address)
                part = self.file.read(size)
            except (OSError, OverflowError, ValueError) as error:
                raise BadRecord(f'cannot read {size} bytes at {address:#x} of {self.path}: '
                                f'{error}') from None
            if not part:
                raise BadRecord(f'{self.path} ends at {address:#x}')
            parts.append(part)
            address += len(part)
            size -= len(part)
        return b''.join(parts)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


class Area:
    """A part of the memfd as it is mapped, with what stands there."""

    def __init__(self, fields, memory):
        self.address, self.bytes, self.offset, self.prot, self.kind = fields
        if self.offset > MAX_OFFSET or self.bytes > MAX_CODE_BYTES:
            raise BadRecord(f'an area of {self.bytes} bytes at offset {self.offset:#x} is too '
                            'large')
        self.data = b''
        if self.kind in (STUBS, IMAGE, FRAMES, PADS):
            if self.offset < Elf.FIRST_OFFSET:
                raise BadRecord(f'an area of kind {self.kind} lies over the record')
            self.data = memory.read(self.address, self.bytes)

    def holds(self, address, size=1):
        return self.address <= address and address + size <= self.address + self.bytes


class Symbol:
    def __init__(self, name, address, size):
        self.name, self.address, self.size = name, address, size


class Update:
    """One update that a process carries: its areas and the names of its code."""

    def __init__(self, memory, address, mapped_bytes, file_name):
        head = memory.read(address, LEDGER.size)
        (magic, version, total, self.update_id, _, checksum, _, patch_id, _, _, _, areas, n_areas,
         sites, n_sites, self.eh_frame, self.eh_frame_bytes, self.image_base, self.image_vaddr,
         _, _, _) = LEDGER.unpack(head)
        if magic != LEDGER_MAGIC or version != LEDGER_VERSION:
            raise BadRecord(f'the mapping at {address:#x} is no record that this program knows')
        if not LEDGER.size <= total <= min(mapped_bytes, MAX_RECORD_BYTES):
            raise BadRecord(f'the record at {address:#x} cannot be {total} bytes long')
        data = memory.read(address, total)
        if zlib.crc32(data[:CHECKSUM_AT] + bytes(4) + data[CHECKSUM_AT + 4:]) != checksum:
            raise BadRecord(f'the record at {address:#x} is damaged: its checksum differs')
        self.address = address
        self.file_name = file_name
        self.patch_id = text_at(data, patch_id)
        self.areas = self.areas_of(of_struct(AREA, data, areas, n_areas), memory)
        self.symbols = self.symbols_of(data, of_struct(SITE, data, sites, n_sites))

    @staticmethod
    def areas_of(records, memory):
        if len(records) > MAX_AREAS or sum(fields[1] for fields in records) > MAX_CODE_BYTES:
            raise BadRecord(f'its {len(records)} areas are too many or too large')
        return [Area(fields, memory) for fields in records]

    def symbols_of(self, data, sites):
        symbols = {}
        for site in sites:
            replacement, replacement_size, stub = site[2:5]
            name, new_name, stub_bytes = site[8:11]
            symbols[replacement] = Symbol(text_at(data, new_name), replacement, replacement_size)
            symbols[stub] = Symbol('dsu stub of ' + text_at(data, name), stub, stub_bytes)
        for area in self.areas:
            if area.kind == PADS:
                symbols[area.address] = Symbol('dsu return pads', area.address, area.bytes)
        for start, size in self.functions_of_frames():
            vaddr = start - self.image_base + self.image_vaddr
            symbols.setdefault(start, Symbol(f'{self.patch_id}+{vaddr:#x}', start, size))
        return [symbols[at] for at in sorted(symbols)]

    def image_frames(self):
        """The area part that is the patch's .eh_frame: (area, offset in it), or None."""
        for area in self.areas:
            if (area.kind == IMAGE and self.eh_frame_bytes
                    and area.holds(self.eh_frame, self.eh_frame_bytes)):
                return area, self.eh_frame - area.address
        return None

    def functions_of_frames(self):
        """Ranges of all functions of the patch, helpers included, as its .eh_frame has them.

        Only the encoding that compilers use for x86-64 is understood (pcrel | sdata4); a table of
        another kind names nothing, and its helpers stay without a name.
        Source: LSB 5.0, 10.6.1.
        """
        found = self.image_frames()
        if not found:
            return
        data = found[0].data[found[1]:found[1] + self.eh_frame_bytes]
        at = 0
        while at + 16 <= len(data):
            length, cie_distance, start, size = struct.unpack_from('<IIiI', data, at)
            if length in (0, 0xFFFFFFFF):
                return
            if cie_distance and pointer_encoding(data, at + 4 - cie_distance) == 0x1B:
                yield self.eh_frame + at + 8 + start, size
            at += 4 + length

    def code(self):
        """Executable areas with their unwind tables: (area, start in its area, bytes) or None."""
        for i, area in enumerate(self.areas):
            if not area.prot & PROT_EXEC or area.kind not in (STUBS, IMAGE, PADS):
                continue
            if area.kind == IMAGE:
                found = self.image_frames()
                yield area, found and (*found, self.eh_frame_bytes)
            elif i + 1 < len(self.areas) and self.areas[i + 1].kind == FRAMES:
                yield area, (self.areas[i + 1], 0, self.areas[i + 1].bytes)
            else:
                yield area, None


def pointer_encoding(data, cie):
    """How the FDEs of this CIE write addresses; None where we cannot tell."""
    if cie < 0 or data[cie + 4:cie + 8] != bytes(4):
        return None
    end = data.find(b'\0', cie + 9, cie + 18)
    augmentation = data[cie + 9:end] if end > 0 else b''
    at = end + 1
    if not augmentation.startswith(b'z'):
        return None
    for _ in range(2):  # code and data alignment, in LEB128
        at = after_leb128(data, at)
    at = after_leb128(data, at + 1)  # return column (one byte in version 1), size of what follows
    for letter in augmentation[1:]:
        if at >= len(data):
            return None
        if letter == ord('R'):
            return data[at]
        if letter == ord('P') and data[at] & 0xF in (0x3, 0xB):
            at += 5
        elif letter == ord('L'):
            at += 1
        elif letter not in b'SB':
            return None
    return None


def after_leb128(data, at):
    while at < len(data) and data[at] & 0x80:
        at += 1
    return at + 1


def mappings(pid):
    """Parts of memfds that dsud may have made: (start, end, protection, offset, inode, name)."""
    with open(f'/proc/{pid}/maps', encoding='utf-8', errors='surrogateescape') as maps:
        for line in maps:
            match = MAPPING.fullmatch(line.rstrip('\n'))
            if match:
                start, end, prot, offset, inode, name = match.groups()
                yield int(start, 16), int(end, 16), prot, int(offset, 16), int(inode), name


def updates_of(pid, complain):
    """The updates that a process carries.

    complain: called with a sentence for each one that cannot be read.
    """
    found = list(mappings(pid))
    if not found:
        return []
    updates = []
    left = MAX_ALL_RECORD_BYTES
    with Memory(pid) as memory:
        for start, end, prot, offset, _, name in found:
            if offset or not prot.startswith('r--'):
                continue
            left -= end - start
            if left < 0:
                complain(f'Process {pid} carries more than dsud ever makes; the rest has no names.')
                break
            try:
                updates.append(Update(memory, start, end - start, name))
            except BadRecord as error:
                complain(f'No names for {printable(name)} in process {pid}: {error}.')
    return updates


class Elf:
    """A little shared object: sections at chosen file offsets, and function symbols."""

    FIRST_OFFSET = 4096  # the first page of every memfd is the record, which needs no section

    def __init__(self):
        # name, type, flags, address, offset, data, link, info, alignment, entry size
        self.sections = []
        self.symbols = []

    def add(self, name, flags, address, offset, data):
        """Return: the index of the new section. offset: None lets the file grow."""
        alignment = 16 if flags & 4 else 8
        self.sections.append([name, 1, flags, address, offset, data, 0, 0, alignment, 0])
        return len(self.sections)

    def add_symbol(self, name, section, address, size):
        self.symbols.append((name, section, address, size))

    @staticmethod
    def strings(names):
        data, places = b'\0', []
        for name in names:
            places.append(len(data))
            data += name.encode('utf-8', 'replace') + b'\0'
        return data, places

    def tables(self):
        names, places = self.strings(symbol[0] for symbol in self.symbols)
        symtab = bytes(24)
        for place, (_, section, address, size) in zip(places, self.symbols):
            # STB_LOCAL, STT_FUNC
            symtab += struct.pack('<IBBHQQ', place, 2, 0, section, address, size)
        n = len(self.sections)
        n_symbols = 1 + len(self.symbols)
        self.sections.append(['.symtab', 2, 0, 0, None, symtab, n + 2, n_symbols, 8, 24])
        self.sections.append(['.strtab', 3, 0, 0, None, names, 0, 0, 1, 0])
        self.sections.append(['.shstrtab', 3, 0, 0, None, b'', 0, 0, 1, 0])

    def write(self, path):
        self.tables()
        names, places = self.strings(section[0] for section in self.sections)
        self.sections[-1][5] = names
        end = max([self.FIRST_OFFSET] + [s[4] + len(s[5]) for s in self.sections
                                         if s[4] is not None])
        headers = bytes(64)
        loads = b''
        with open(path, 'xb') as file:
            for place, (_, kind, flags, address, offset, data, *rest) in zip(places, self.sections):
                if offset is None:
                    offset = end = (end + 15) & ~15
                    end += len(data)
                file.seek(offset)
                file.write(data)
                headers += struct.pack('<IIQQQQIIQQ', place, kind, flags, address, offset,
                                       len(data), *rest)
                if flags & 4:
                    loads += struct.pack('<IIQQQQQQ', 1, 5, offset, address, address, len(data),
                                         len(data), 1)
            end = (end + 15) & ~15
            file.seek(end)
            file.write(headers)
            if 64 + len(loads) > self.FIRST_OFFSET:
                raise BadRecord(f'{len(loads) // 56} pieces of code are too many for one file')
            file.seek(0)
            # ET_DYN, EM_X86_64
            file.write(struct.pack('<4s5B7xHHIQQQIHHHHHH', b'\x7fELF', 2, 1, 1, 0, 0, 3, 62, 1, 0,
                                   64, end, 0, 64, 56, len(loads) // 56, 64,
                                   len(self.sections) + 1, len(self.sections)))
            file.write(loads)


def write_piece(update, area, frames, path):
    """For gdb: one piece of code, its names and unwind table, at the addresses of the process."""
    elf = Elf()
    section = elf.add('.text', 6, area.address, None, area.data)
    if frames:
        where, start, size = frames
        elf.add('.eh_frame', 2, where.address + start, None, where.data[start:start + size])
    for symbol in update.symbols:
        if area.holds(symbol.address):
            elf.add_symbol(symbol.name, section, symbol.address, symbol.size)
    elf.write(path)


def write_memfd(update, path):
    """For perf: all code at its offset in the memfd, which is how perf looks it up."""
    elf = Elf()
    for i, (area, _) in enumerate(update.code()):
        section = elf.add('.text' if i == 0 else f'.text.{i}', 6, area.offset, area.offset,
                          area.data)
        for symbol in update.symbols:
            if area.holds(symbol.address):
                elf.add_symbol(symbol.name, section, symbol.address - area.address + area.offset,
                               symbol.size)
    elf.write(path)
