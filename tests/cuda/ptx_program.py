"""A kernel's PTX as Python: a function for each basic block."""

from __future__ import annotations

import functools
import re
import struct

import numpy as np
import ptx_words
from ptx_memory import LOCAL
from ptx_words import KINDS, TYPES


def _split(text):
    """Operands, of which those in brackets are one."""
    found = re.findall(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,\s][^,]*", text)
    return [part.strip() for part in found]


class Program:
    """A kernel's PTX as Python functions, one for each basic block."""

    def __init__(self, ptx):
        text = re.sub(r"//[^\n]*", "", ptx)
        self.shared = {
            name: (int(size), int(alignment))
            for alignment, name, size in re.findall(
                r"\.shared \.align (\d+) \.b8 (\w+)\[(\d+)\]", text
            )
        }
        head = re.search(r"\.entry (\w+)\s*\((.*?)\)", text, re.S)
        self.parameters = re.findall(r"\.param \.(\w+)\s+(\w+)", head[2])
        body = text[text.index("{", head.end()) :]
        depth = np.cumsum([(letter == "{") - (letter == "}") for letter in body])
        body = body[1 : depth.argmin()]
        self.counts = {k: int(n) for k, n in re.findall(r"\.reg \.\w+\s+%([a-z]+)<(\d+)>", body)}
        local = re.search(r"\.local \.align \d+ \.b8\s+(\w+)\[(\d+)\]", body)
        self.local, self.local_bytes = (local[1], int(local[2])) if local else (None, 0)
        self._blocks(self._statements(body))

    @staticmethod
    def _statements(body):
        """Labels, and (guard, opcode, operands) of instructions."""
        for part in body.split(";"):
            part = part.strip()
            while part and (part[0] in "{}" or re.match(r"\$?\w+:", part)):
                label = re.match(r"(\$?\w+):", part)
                if label:
                    yield label[1]
                part = part[label.end() if label else 1 :].strip()
            if not part or part.startswith("."):
                continue
            guard, opcode, rest = re.match(
                r"(?:@(!?%\w+)\s+)?([\w.:]+)\s*(.*)", part, re.S
            ).groups()
            yield guard, opcode, _split(rest)

    def _blocks(self, statements):
        blocks, names = [[]], {}
        for statement in statements:
            if isinstance(statement, str):
                if blocks[-1]:
                    blocks.append([])
                names[statement] = len(blocks) - 1
                continue
            blocks[-1].append(statement)
            opcode = statement[1]
            if opcode.startswith(("bra", "ret", "bar.sync")):
                blocks.append([])
        space = {**vars(ptx_words), "K": {}}
        lines = []
        for number, block in enumerate(blocks):
            lines += _Translation(self, space["K"], number, names).function(block)
        exec(compile("\n".join(lines), "ptx", "exec"), space)
        self.functions = [space[f"block{n}"] for n in range(len(blocks))]

    def registers(self, threads):
        return {
            **{
                f"{k}{i}": np.zeros(threads, KINDS[k])
                for k, n in self.counts.items()
                for i in range(n)
            },
            "temp": np.zeros(threads, np.int32),
            "SP": np.zeros(threads, np.int64),
            "SPL": np.zeros(threads, np.int64),
        }


class _Translation:
    """One basic block as a Python function of (registers R, block B, active threads A)."""

    def __init__(self, program, constants, number, names):
        self.program, self.constants, self.number, self.names = program, constants, number, names
        self.read, self.written, self.lines = set(), set(), []

    def function(self, statements):
        after = str(self.number + 1)
        for guard, opcode, operands in statements:
            name, *parts = opcode.split(".")
            if name in ("bra", "ret") or opcode.startswith("bar.sync"):
                if name == "bra":
                    goal = str(self.names[operands[0]])
                    after = (
                        goal
                        if guard is None
                        else (
                            f"np.where({self.value(guard.lstrip('!'), bool, guard[0] == '!')}, "
                            f"{goal}, {after})"
                        )
                    )
                elif name == "ret":
                    after = "-1" if guard is None else f"np.where({self.value(guard)}, -1, {after})"
                else:
                    assert guard is None and operands == ["0"]
                    after = f"-2 - {after}"
                continue
            assert guard is None, (guard, opcode)
            self.instruction(opcode, name, parts, operands)
        head = [f"def block{self.number}(R, B, A):"]
        head += [f"    {r} = R['{r}'][A]" for r in sorted(self.read)]
        foot = [f"    R['{r}'][A] = {r}" for r in sorted(self.written)]
        body = [f"    {line}" for line in self.lines]
        return [*head, *body, f"    after = {after}", *foot, "    return after"]

    # --- operands

    def value(self, operand, kind=None, negated=False):
        """An operand as an expression, of a type."""
        if operand.startswith("%"):
            name = operand[1:]
            if "." in name:
                return f"B.special('{name}', A)"
            if name not in self.written:
                self.read.add(name)
            own = np.dtype(KINDS[name.rstrip("0123456789")])
            if negated:
                return f"~{name}"
            if kind is None or own == kind:
                return name
            return f"{name}.view({self.constant(np.dtype(kind))})"
        if re.match(r"0[fd]", operand):
            form = "f" if operand[1] == "f" else "d"
            number = struct.unpack(f">{form}", bytes.fromhex(operand[2:]))[0]
            return self.constant((np.float32 if form == "f" else np.float64)(number))
        if re.fullmatch(r"-?\d+", operand):
            kind = np.dtype(kind)
            if kind.kind == "b":
                return self.constant(np.bool_(int(operand)))
            bits = 8 * kind.itemsize
            return self.constant(
                np.array(int(operand) % (1 << bits), f"u{bits // 8}").view(kind)[()]
            )
        if operand in self.program.shared:
            return f"np.int64(B.shared.at['{operand}'])"
        if operand == self.program.local:
            return f"np.int64({LOCAL})"
        raise AssertionError(operand)

    def constant(self, value):
        key = f"k{len(self.constants)}"
        self.constants[key] = value
        return f"K['{key}']"

    def set(self, operand, expression):
        """Give a register the bits of an expression."""
        name = operand[1:]
        own = np.dtype(KINDS[name.rstrip("0123456789")])
        kind = self.constant(own)
        self.lines.append(f"{name} = bits({expression}, {kind})")
        self.written.add(name)

    def address(self, operand):
        inside = operand[1:-1]
        base, _, offset = inside.partition("+")
        kind = np.int32 if re.fullmatch(r"%r\d+", base) else np.int64
        return f"({self.value(base, kind)} + np.int64({offset or 0}))"

    # --- instructions

    def instruction(self, opcode, name, parts, o):
        kind = np.dtype(TYPES[parts[-1]]) if parts and parts[-1] in TYPES else None
        k = None if kind is None else self.constant(kind)
        a = [self.value(x, kind) for x in o[1:]] if name in PLAIN else []
        if name in PLAIN:
            self.set(o[0], PLAIN[name].format(*a, k=k))
        elif name in ("fma", "add", "sub", "mul", "mad", "div"):
            self.arithmetic(name, parts, kind, k, o)
        elif name == "setp":
            values = ", ".join(self.value(x, kind) for x in o[1:])
            self.set(o[0], f"COMPARISONS['{parts[0]}']({values})")
        elif name == "selp":
            self.set(
                o[0],
                f"np.where({self.value(o[3], bool)}, {self.value(o[1], kind)}, "
                f"{self.value(o[2], kind)})",
            )
        elif name in ("shl", "shr"):
            amount = self.value(o[2], np.uint32)
            self.set(o[0], f"shift({k}, {name == 'shl'}, {self.value(o[1], kind)}, {amount})")
        elif name == "cvt":
            self.convert(parts, o)
        elif name == "cvta":
            self.set(o[0], self.value(o[1]) + " + np.int64(0)")
        elif name == "mov":
            self.move(kind, o)
        elif name in ("ld", "st"):
            self.access(name, parts, kind, o)
        elif name == "call":
            assert o[1] == "__internal_accurate_pow", o
            self.lines.append("retval0 = np.power(param0, param1)")
        elif opcode.startswith("mma.sync.aligned.m16n8k"):
            d, a, b, c = ([x.strip() for x in part[1:-1].split(",")] for part in o)
            words = ", ".join(self.value(x, np.int32) for x in (*a, *b))
            sums = ", ".join(self.value(x) for x in c)
            threads = "B.lanes[A]"
            self.lines.append(
                f"found = multiply_tiles('{parts[-2]}', {threads}, [{words}], [{sums}])"
            )
            for i, x in enumerate(d):
                self.set(x, f"found[{i}]")
        elif opcode.startswith("cp.async.c") and parts[1] in ("ca", "cg"):
            size = int(o[2])
            assert size == 16 or parts[1] == "ca"
            self.lines.append(
                f"B.copy_async(A, {self.address(o[0])}, {self.address(o[1])}, {size},"
                f" {self.value(o[3], np.int32)})"
            )
        elif opcode == "cp.async.commit_group":
            self.lines.append("B.commit(A)")
        elif opcode == "cp.async.wait_group":
            self.lines.append(f"B.wait(A, {int(o[0])})")
        else:
            raise NotImplementedError(f"{opcode} {o}")

    def arithmetic(self, name, parts, kind, k, o):
        mode = parts[0] if len(parts) > 1 else ""
        values = [self.value(x, kind) for x in o[1:]]
        if name == "div":
            self.set(o[0], f"divide({k}, {', '.join(values)})")
        elif name == "fma" or (name == "mad" and mode == "lo"):
            if name == "mad":
                self.set(o[0], f"{values[0]} * {values[1]} + {values[2]}")
            else:
                self.set(o[0], f"fma({k}, '{mode}', {', '.join(values)})")
        elif mode == "wide":
            wide = self.constant(np.dtype(f"{kind.kind}8"))
            self.set(o[0], f"np.asarray({values[0]}).astype({wide}) * {values[1]}")
        elif name == "add" and mode == "rz":
            self.set(o[0], f"add({k}, 'rz', {', '.join(values)})")
        else:
            assert mode in ("", "rn", "lo"), (name, parts)
            sign = {"add": "+", "sub": "-", "mul": "*"}[name]
            self.set(o[0], f"{values[0]} {sign} {values[1]}")

    def convert(self, parts, o):
        mode = parts[0] if parts[0] not in TYPES else ""
        if parts[-2] == "tf32":
            self.set(o[0], f"convert(None, None, 'rna', {self.value(o[1])})")
            return
        to, of = (np.dtype(TYPES[part]) for part in parts[-2:])
        name = o[1][1:]
        own = np.dtype(KINDS[name.rstrip("0123456789")])
        value = self.value(o[1], own if own.itemsize != of.itemsize else of)
        if own.itemsize > of.itemsize:  # the lower bits
            value = f"{value}.astype({self.constant(of)})"
        self.set(o[0], f"convert({self.constant(to)}, None, '{mode}', {value})")

    def move(self, kind, o):
        if o[0].startswith("{"):
            low, high = (x.strip() for x in o[0][1:-1].split(","))
            self.lines.append(f"both = np.ascontiguousarray({self.value(o[1])}).view(np.int32)")
            self.set(low, "both[0::2].copy()")
            self.set(high, "both[1::2].copy()")
            return
        if o[1].startswith("{"):
            halves = [self.value(x.strip()) for x in o[1][1:-1].split(",")]
            one, half = (np.dtype(f"i{kind.itemsize // n}") for n in (1, 2))
            self.set(
                o[0],
                f"np.stack([np.asarray(x).view({self.constant(half)}) for x in "
                f"np.broadcast_arrays({', '.join(halves)})], 1)"
                f".view({self.constant(one)})[:, 0]",
            )
            return
        value = self.value(o[1], None if o[1].startswith("%") else kind)
        self.set(o[0], f"wide({value}, len(B.lanes[A])).copy()")

    def access(self, name, parts, kind, o):
        space = parts[0]
        if space == "param":
            inside = re.match(r"\[(\w+)(?:\+0)?\]", o[0 if name == "st" else 1])[1]
            if name == "st":
                self.lines.append(f"{inside} = {self.value(o[1], kind)}")
            elif inside == "retval0":
                self.set(o[0], "retval0")
            else:
                index = [n for _, n in self.program.parameters].index(inside)
                self.set(o[0], f"np.full(B.lanes[A].shape, B.parameters[{index}])")
            return
        count = int(parts[1][1:]) if parts[1][0] == "v" else 1
        where, what = (o[1], o[0]) if name == "ld" else (o[0], o[1])
        cells = [x.strip() for x in what.strip("{}").split(",")]
        assert len(cells) == count
        k = self.constant(kind)
        if name == "st":
            values = ", ".join(self.value(x, None if x[0] == "%" else kind) for x in cells)
            self.lines.append(f"B.store('{space}', A, {self.address(where)}, {k}, [{values}])")
            return
        self.lines.append(f"found = B.load('{space}', A, {self.address(where)}, {k}, {count})")
        for i, cell in enumerate(cells):
            self.set(cell, f"found[{i}]")


PLAIN = {
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} ^ {1}",
    "not": "~np.asarray({0})",
    "neg": "-{0}",
    "abs": "abs({0})",
    "min": "(np.fmin if {k}.kind == 'f' else np.minimum)({0}, {1})",
    "max": "(np.fmax if {k}.kind == 'f' else np.maximum)({0}, {1})",
    "sqrt": "np.sqrt({0})",
    "rcp": "1 / {0}",
    "ex2": "np.exp2({0})",
    "lg2": "np.log2({0})",
    "copysign": "np.copysign({1}, {0})",
}


@functools.lru_cache(maxsize=512)
def translated(ptx):
    """The program of a text, translated once."""
    return Program(ptx)
