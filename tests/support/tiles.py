"""AMX for the emulator: the tile instructions, decoded and done in numpy (Intel's manual, volume 2)."""

import ctypes
import struct

import numpy as np

REGISTERS = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()
NONE, P66, PF3, PF2 = range(4)  # prefixes, as VEX encodes them
LENGTHS = 5, 6, 7, 9, 10  # of an instruction: with an index, a displacement of one byte or four
ROWS, ROW_BYTES = 16, 64
DTYPES = {NONE: ("u1", "u1"), P66: ("u1", "i1"), PF3: ("i1", "u1"), PF2: ("i1", "i1")}  # of A and B, by prefix


class Tiles:
    """Eight tiles and their configuration; ``count`` says how often each instruction ran."""

    def __init__(self):
        self.config = bytes(64)
        self.data = np.zeros((8, ROWS, ROW_BYTES), np.uint8)
        self.count: dict[str, int] = {}

    def step(self, state) -> bool:
        """Do the instruction that ends at ``rip``, where Bochs stands when it refuses one, if it is one of AMX."""
        for length in LENGTHS:
            code = ctypes.string_at(state.rip - length, length)
            if code[0] != 0xC4 or code[1] & 0x1F != 2 or code[2] & 0x84:  # VEX of three bytes, map 0F38, W0, 128 bits
                continue
            prefix, opcode, modrm = code[2] & 3, code[3], code[4]
            other = ~code[2] >> 3 & 15
            reg, rm = modrm >> 3 & 7, modrm & 7
            whole, address, stride = 5, 0, 0
            if modrm >> 6 != 3:
                whole, address, stride = self._operand(code + bytes(15), state)
            name = whole == length and self._do(prefix, opcode, modrm, reg, rm, other, address, stride)
            if name:
                self.count[name] = self.count.get(name, 0) + 1
                return True
        return False

    def shape(self, tile: int) -> tuple[int, int]:
        """Rows and bytes per row that are configured."""
        return self.config[48 + tile], struct.unpack_from("<H", self.config, 16 + 2 * tile)[0]

    def _do(self, prefix, opcode, modrm, reg, rm, other, address, stride) -> str:
        memory = modrm >> 6 != 3
        if opcode == 0x49 and memory and reg == 0:
            if prefix == NONE:
                self._configure(ctypes.string_at(address, 64))
                return "ldtilecfg"
            if prefix == P66:
                ctypes.memmove(address, self.config, 64)
                return "sttilecfg"
        if opcode == 0x49 and not memory:
            if prefix == NONE and modrm == 0xC0:
                self._configure(bytes(64))
                return "tilerelease"
            if prefix == PF2 and rm == 0:
                self._tile(reg)[...] = 0
                return "tilezero"
        if opcode == 0x4B and memory:
            return self._move(prefix, reg, address, stride)
        if opcode == 0x5E and not memory:
            return self._product(prefix, reg, rm, other)
        if opcode == 0x5C and not memory and prefix == PF3:
            return self._bfloat16_product(reg, rm, other)
        return ""

    def _configure(self, config: bytes) -> None:
        if config[0] not in (0, 1) or any(config[2:16]) or any(config[32:48]) or any(config[56:64]):
            raise ValueError("ldtilecfg: palette or unused bytes")
        self.config = config if config[0] else bytes(64)
        for tile in range(8):
            rows, width = self.shape(tile)
            if rows > ROWS or width > ROW_BYTES or bool(rows) != bool(width) or width % 4:
                raise ValueError(f"ldtilecfg: tile {tile} of {rows} rows of {width} bytes")
        self.data[...] = 0

    def _tile(self, tile: int) -> np.ndarray:
        if not self.config[0]:
            raise ValueError("a tile is used before ldtilecfg")
        rows, width = self.shape(tile)
        return self.data[tile, :rows, :width]

    def _move(self, prefix, reg, address, stride) -> str:
        x = self._tile(reg)
        for r in range(x.shape[0]):
            at = address + r * stride
            if prefix == PF3:
                ctypes.memmove(at, x[r].tobytes(), x.shape[1])
            else:
                x[r] = np.frombuffer(ctypes.string_at(at, x.shape[1]), np.uint8)
        if prefix != PF3:  # what lies beyond the configured rows and bytes becomes zero
            self.data[reg, x.shape[0] :] = 0
            self.data[reg, :, x.shape[1] :] = 0
        return {PF3: "tilestored", PF2: "tileloadd", P66: "tileloaddt1"}.get(prefix, "")

    def _operands(self, c, a, b) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        to, left, right = self._tile(c), self._tile(a), self._tile(b)
        if (to.shape[0], to.shape[1], left.shape[1]) != (left.shape[0], right.shape[1], 4 * right.shape[0]):
            raise ValueError(f"tiles do not fit: {to.shape}, {left.shape}, {right.shape}")
        return to, left, right

    def _product(self, prefix, c, a, b) -> str:
        to, left, right = self._operands(c, a, b)
        kinds = DTYPES[prefix]
        x = np.ascontiguousarray(left).view(kinds[0]).astype(np.int64)
        w = np.ascontiguousarray(right).view(kinds[1]).astype(np.int64)
        w = w.reshape(w.shape[0], -1, 4).transpose(0, 2, 1).reshape(4 * w.shape[0], -1)
        sums = np.ascontiguousarray(to).view("i4") + x @ w
        to[...] = sums.astype(np.uint32 if sums.min(initial=0) >= 0 else np.int64).astype(np.int32).view(np.uint8)
        return "tdpb" + "".join("u" if k == "u1" else "s" for k in kinds) + "d"

    def _bfloat16_product(self, c, a, b) -> str:
        to, left, right = self._operands(c, a, b)
        x, w = _floats(left), _floats(right)
        w = w.reshape(w.shape[0], -1, 2).transpose(0, 2, 1).reshape(2 * w.shape[0], -1)
        sums = np.zeros((2, x.shape[0], w.shape[1]), np.float32)
        with np.errstate(all="ignore"):
            for k in range(x.shape[1]):
                sums[k % 2] += x[:, k, None] * w[k]
            to[...] = (np.ascontiguousarray(to).view("f4") + (sums[0] + sums[1])).view(np.uint8)
        return "tdpbf16ps"

    def _operand(self, code, state) -> tuple[int, int, int]:
        """(length of the instruction, address, stride) of a memory operand."""
        modrm = code[4]
        mode, base, at, stride = modrm >> 6, modrm & 7, 5, 0
        value = 0
        index_bit, base_bit = ~code[1] >> 3 & 8, ~code[1] >> 2 & 8
        if base == 4:
            sib = code[5]
            at, index, base = 6, (sib >> 3 & 7) | index_bit, sib & 7
            if index != 4:
                stride = _signed(getattr(state, REGISTERS[index])) << (sib >> 6)
        if base == 5 and mode == 0:
            value = struct.unpack_from("<i", code, at)[0]
            at += 4
            value += state.rip if modrm & 7 == 5 else 0
        else:
            value = getattr(state, REGISTERS[base | base_bit])
            if mode == 1:
                value += struct.unpack_from("<b", code, at)[0]
            elif mode == 2:
                value += struct.unpack_from("<i", code, at)[0]
            at += (0, 1, 4)[mode]
        return at, value, stride


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x


def _floats(tile: np.ndarray) -> np.ndarray:
    half = np.ascontiguousarray(tile).view("u2").astype(np.uint32)
    return (
        np.where(half & 0x7F80, half << 16, half << 16 & 0x80000000).astype(np.uint32).view("f4")
    )  # no subnormal ones
