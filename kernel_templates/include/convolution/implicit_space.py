"""Knobs and constraints of convolution/implicit.cuh."""

from tuner.space import Constraint, Knob

COLUMNS = (8, 16, 24, 32, 48, 64, 96, 128)
SHARED = 232448  # bytes of a block's shared memory
SHARED_OF_ALL = 233472  # of a multiprocessor's blocks, of which each takes 1024 more
REGISTERS = 65536


class Geometry:
    """What implicit_layout.cuh knows of a convolution; sizes are (depth, height, width)."""

    def __init__(self, channels, kernel, stride, dilation, padding, transposed):
        self.channels, self.kernel, self.stride, self.dilation = channels, kernel, stride, dilation
        self.padding, self.transposed = padding, transposed
        self.phases = stride[2] if transposed else 1
        self.columns = channels[1] * self.phases
        self.classes = stride[0] * stride[1] if transposed else 1

    def taps(self, dim, of_class):
        """(taps, inputs from one to the next, inputs from one output of the class to the next)."""
        k, s = self.kernel[dim], self.stride[dim]
        if not self.transposed or s == 1:
            return k, self.dilation[dim], s
        residues = range(s) if dim == 2 else [of_class // self.stride[1] if dim == 0 else of_class % self.stride[1]]
        first, last = [], []
        for residue in residues:
            start = (residue + self.padding[dim]) % s
            count = (k - 1 - start) // s + 1 if k > start else 0
            if count:
                last.append((residue + self.padding[dim] - start) // s)
                first.append(last[-1] - count + 1)
        return max(last) - min(first) + 1, 1, 1

    def shared_bytes(self, tile, columns, chunk, stages, pieces, turns):
        """ImplicitLayout::shared_bytes."""
        most = [max(self.taps(dim, c)[0] for c in range(self.classes)) for dim in range(3)]
        halo = [
            (tile[dim] - 1) * self.taps(dim, 0)[2] + (most[dim] - 1) * self.taps(dim, 0)[1] + 1 for dim in range(3)
        ]
        box = halo[0] * halo[1] * (-(-halo[2] // 2) * 2)
        channel = (box + 23) // 32 * 32 + 8
        steps = 0
        for c in range(self.classes):
            rows = self.taps(0, c)[0] * self.taps(1, c)[0]
            steps = max(steps, (rows * (chunk // 4) + 1) // 2 * self.taps(2, c)[0])
        weights = steps * pieces * columns * 8
        inputs = (chunk + (4 if chunk == 4 else 0)) * channel
        resident = chunk >= self.channels[0] and self.classes == 1 and columns >= self.columns
        staged = 128 + 4 * ((1 if resident else stages) * weights + stages * inputs)
        together = 32 if columns % 32 == 0 else 24 if columns % 24 == 0 else min(columns, 16)
        turned = together // self.phases * (64 * self.phases + (4 if self.phases == 1 else 16))
        return staged + (tile[0] * tile[1] * tile[2] // 64 * turned * 4 if turns else 0)

    def registers(self, columns, chunk, pieces):
        """A thread's, about: sums, operands and what goes around them."""
        promotes = pieces == 2 and chunk < self.channels[0]
        span = max(self.taps(2, c)[0] for c in range(self.classes)) + 1
        return columns // 2 * (2 if promotes else 1) + 4 * pieces * span + 24


def cuda_knobs(
    prefix="", channels=(64, 64), kernel=(1, 3, 3), stride=(1, 1, 1), dilation=(1, 1, 1), padding=(0, 0, 0),
    transposed=False, whole=False, sizes=(1, 64, 64),
):  # fmt: skip
    """Of a convolution. `whole`: a block has all channels of a position; `sizes` are an output's, for the defaults."""
    geometry = Geometry(channels, kernel, stride, dilation, padding, transposed)
    least = next((n for n in COLUMNS if n >= geometry.columns), COLUMNS[-1])
    columns = (least,) if whole else tuple(n for n in COLUMNS if n <= least and (n >= 32 or n == least))
    chunks = (4,) if channels[0] <= 4 else tuple(n for n in (8, 16, 32) if n == 8 or n < 2 * channels[0])
    width = -(-sizes[2] // (stride[2] if transposed else 1))
    across = next((n for n in (8, 16, 32) if n >= width), 64)
    deep = 1 if kernel[0] == 1 else 2
    vector = 1 if whole else next(n for n in (4, 2, 1) if sizes[2] % n == 0)
    pieces = 2 if channels[0] <= 16 else 1
    chunk = max(n for n in chunks if n <= 16)
    while chunk > 8 and not fits(geometry, 4, deep, across, columns[-1], chunk, 2, 1, pieces, not whole):
        chunk //= 2
    knobs = (
        Knob("warpgroups", (1, 2, 3, 4), 4, "of a block, each for 64 positions"),
        Knob("tile_width", (8, 16, 32, 64, 128), across, "positions of a block along the width"),
        Knob("columns", columns, columns[-1], "channels of a block, times the residues of a transposed stride"),
        Knob("chunk", chunks, chunk, "input channels in shared memory at once"),
        Knob("stages", (2, 3), 2, "chunks in shared memory, of which all but one are under way"),
        Knob("blocks", (1, 2, 3, 4), 1, "of a multiprocessor, for which there are registers"),
        Knob("pieces", (1, 2), pieces, "of a value: 1, TF32; 2, near fp32, with three products for one"),
        Knob("vector_width", (1,) if whole else (1, 2, 4), vector, "outputs that a thread writes at once"),
        Knob("tile_depth", (1,) if kernel[0] == 1 else (1, 2, 4), deep, "positions of a block along the depth"),
    )
    return tuple(Knob(prefix + one.name, one.choices, one.default, one.doc) for one in knobs)


def fits(geometry, warpgroups, depth, width, columns, chunk, stages, blocks, pieces, turns):
    """Whether shared memory and registers hold as many blocks."""
    tile = (depth, 64 * warpgroups // (depth * width), width)
    if tile[1] * depth * width != 64 * warpgroups:
        return False
    shared = geometry.shared_bytes(tile, columns, chunk, stages, pieces, turns)
    registers = min(REGISTERS // (128 * warpgroups * blocks) // 8 * 8, 255)
    needed = geometry.registers(columns, chunk, pieces)
    shared += 4096 if turns else 0  # states of a reduction over positions
    return shared <= SHARED and blocks * (shared + 1024) <= SHARED_OF_ALL and needed <= registers


def cuda_constraints(
    prefix="", channels=(64, 64), kernel=(1, 3, 3), stride=(1, 1, 1), dilation=(1, 1, 1), padding=(0, 0, 0),
    transposed=False, whole=False, sizes=None,
):  # fmt: skip
    """Facts: cores, PREFIXsamples and the output's PREFIXdepth, PREFIXheight, PREFIXwidth as far as there are."""
    geometry = Geometry(channels, kernel, stride, dilation, padding, transposed)

    def get(k, name):
        return getattr(k, prefix + name)

    def lattice(f):
        """Outputs of a class along each dimension."""
        out = [getattr(f, f"{prefix}{word}", 1) for word in ("depth", "height", "width")]
        return [-(-n // s) if transposed else n for n, s in zip(out, stride)]

    def tile(k):
        deep, across = get(k, "tile_depth"), get(k, "tile_width")
        return deep, 64 * get(k, "warpgroups") // (deep * across), across

    def is_box(k, f):
        deep, high, across = tile(k)
        return deep * high * across == 64 * get(k, "warpgroups")

    def is_met(k, f):
        """No side of a box is twice as long as the output, unless it is the shortest."""
        deep, high, across = tile(k)
        out = lattice(f)
        return (across < 2 * out[2] or across == 8) and (deep < 2 * out[0] or deep == 1) and high < 2 * out[1] + 1

    def holds(k, f):
        names = ("warpgroups", "tile_depth", "tile_width", "columns", "chunk", "stages", "blocks", "pieces")
        return fits(geometry, *(get(k, name) for name in names), not whole)

    def fills(k, f):
        """Every multiprocessor has a tile, or tiles cannot be smaller."""
        count = getattr(f, f"{prefix}samples")
        for side, out in zip(tile(k), lattice(f)):
            count *= -(-out // side)
        count *= geometry.classes * -(-geometry.columns // get(k, "columns"))
        return get(k, "warpgroups") == 1 or count >= f.cores

    def divides(k, f):
        return getattr(f, f"{prefix}width", 1) % get(k, "vector_width") == 0

    return (
        Constraint(f"{prefix}a block's positions are a box", is_box),
        Constraint(f"{prefix}a box is not much larger than the output", is_met),
        Constraint(f"{prefix}shared memory and registers hold the blocks", holds),
        Constraint(f"{prefix}every multiprocessor has a tile", fills),
        Constraint(f"{prefix}vectors divide a row", divides),
    )
