"""The same problems at sizes that two CPU cores search in seconds.

    python benchmarks/problems/reduced.py OUTPUT_FOLDER

Writes every problem of level1/ and level2/ into OUTPUT_FOLDER/level1 and level2 with other constants at its top.
Operators, kernel sizes and strides stay; odd sizes are among the new ones on purpose.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROBLEMS = Path(__file__).parent

# "level/number of the file" -> what stands left of a constant's "=" -> what is to stand right of it.
REDUCED: dict[str, dict[str, str]] = {
    "level1/1": {"n": "384"},
    "level1/8": {"m": "205", "k": "149", "n": "221"},
    "level1/16": {"m": "128", "k": "512", "n": "256"},
    "level1/21": {"batch_size": "64", "dim": "8192"},
    "level1/23": {"batch_size": "64", "dim": "8192"},
    "level1/25": {"batch_size": "64", "dim": "8192"},
    "level1/35": {"batch_size": "4", "dim1, dim2": "48, 48"},
    "level1/36": {"batch_size": "4", "dim1, dim2": "48, 48"},
    "level1/38": {"batch_size": "64", "dim": "8191"},
    "level1/40": {"batch_size": "8", "features": "32", "dim1, dim2": "40, 40"},
    "level1/42": {"batch_size": "4", "channels": "16", "height, width": "80, 80"},
    "level1/45": {"batch_size": "4", "channels": "16", "height, width": "99, 99"},
    "level1/47": {"batch_size": "8", "dim1, dim2": "128, 511"},
    "level1/51": {"batch_size": "8", "dim1, dim2": "128, 511"},
    "level1/89": {"batch_size": "128", "length": "4096"},
    "level1/94": {"batch_size": "256", "length": "2048"},
    "level1/95": {"batch_size": "512", "num_classes": "1024"},
    "level1/98": {"batch_size": "256", "length": "2048"},
    "level2/1": {"batch_size": "8", "in_channels": "16", "out_channels": "32", "height, width": "40, 40"},
    "level2/7": {"batch_size": "4", "out_channels": "16", "depth, height, width": "10, 24, 24"},
    "level2/9": {"batch_size": "64", "in_features": "512", "out_features": "1024"},
    "level2/10": {"batch_size": "8", "in_channels": "16", "out_channels": "16", "height, width": "48, 48"},
    "level2/14": {"batch_size": "64", "input_size": "512", "hidden_size": "1024"},
    "level2/15": {"batch_size": "4", "in_channels": "8", "out_channels": "16", "depth, height, width": "6, 12, 12"},
    "level2/16": {"batch_size": "4", "in_channels": "16", "out_channels": "16", "height, width": "40, 40"},
    "level2/17": {"batch_size": "8", "in_channels": "16", "out_channels": "32", "height, width": "41, 41"},
    "level2/19": {"batch_size": "4", "in_channels": "16", "out_channels": "32", "height, width": "46, 46"},
    "level2/22": {"batch_size": "64", "input_size": "512", "hidden_size": "1024"},
    "level2/24": {"batch_size": "8", "depth, height, width": "12, 20, 20"},
    "level2/25": {"batch_size": "8", "in_channels": "8", "out_channels": "32", "height, width": "48, 48"},
    "level2/26": {"batch_size": "4", "in_channels": "8", "out_channels": "16", "depth, height, width": "8, 10, 12"},
    "level2/28": {"batch_size": "64", "in_features": "512", "out_features": "1024"},
    "level2/30": {"batch_size": "64", "in_features": "512", "out_features": "1024"},
    # LayerNorm is over the width, twice the input's, and as long as there are channels.
    "level2/34": {"batch_size": "4", "in_channels": "8", "out_channels": "32", "depth, height, width": "4, 9, 16"},
    "level2/38": {"batch_size": "4", "in_channels": "8", "out_channels": "16", "depth, height, width": "8, 24, 24"},
    "level2/41": {"batch_size": "512", "in_features": "256", "out_features": "512"},
    "level2/43": {"batch_size": "2", "in_channels": "8", "out_channels": "32", "depth, height, width": "8, 24, 24"},
    "level2/46": {"batch_size": "8", "in_channels": "16", "out_channels": "32", "height, width": "41, 41"},
    "level2/52": {"batch_size": "8", "in_channels": "16", "out_channels": "32", "height, width": "40, 40"},
    "level2/57": {"batch_size": "8", "out_channels": "32", "height, width": "48, 48"},
    "level2/59": {"batch_size": "16", "in_features": "1024", "out_features": "2048"},
    "level2/67": {"batch_size": "8", "out_channels": "32", "height, width": "48, 48"},
    "level2/74": {"batch_size": "4", "in_channels": "8", "out_channels": "16", "depth, height, width": "6, 12, 12"},
    "level2/79": {"batch_size": "8", "depth, height, width": "8, 19, 19"},
    "level2/85": {"batch_size": "8", "out_channels": "32", "height, width": "45, 45"},
    "level2/91": {"batch_size": "8", "in_channels": "16", "out_channels": "32", "height, width": "20, 20"},
    "level2/92": {"batch_size": "8", "out_channels": "32", "height, width": "45, 45"},
    "level2/96": {"batch_size": "8", "depth, height, width": "6, 12, 12"},
    "level2/99": {"batch_size": "64", "in_features": "512", "out_features": "1024"},
}

# Every family and every product: map, row, column, group, window, all, scan; linear, matmul, convolution, transposed
# convolution, in two and three dimensions.
DOZEN = (
    "level1/8", "level1/25", "level1/47", "level1/89", "level1/94", "level2/15", "level2/22", "level2/38",
    "level2/46", "level2/57", "level2/91", "level2/92",
)  # fmt: skip


def key(path: Path) -> str:
    """What a problem file is called here: "level2/22" for level2/22_matmul_scale_….py."""
    return f"{path.parent.name}/{path.stem.split('_')[0]}"


def resized(path: Path) -> str:
    """The text of a problem file with the constants of REDUCED. Raises ValueError where it has no such line."""
    text = path.read_text()
    for name, value in REDUCED[key(path)].items():
        text, found = re.subn(rf"^{re.escape(name)} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"{path}: has {found} lines that begin with {name!r} =")
    return text


def write(output: Path) -> list[Path]:
    """Write every problem at its reduced size below `output`; the files, in order."""
    written = []
    for path in sorted(PROBLEMS.glob("level*/*.py")):
        target = output / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(resized(path))
        written.append(target)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/problems/reduced.py OUTPUT_FOLDER")
    print(f"{len(write(Path(sys.argv[1])))} problems")
