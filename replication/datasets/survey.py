"""What the headers of a copy's photographs say, before hours are spent on decoding them.

Refused are more images than the dataset was published with, and what looks like the masks of a downloaded set: a folder of
grey images beside photographs in colour, folders called so with the photographs' own file names, and files called like
another one with _mask or the like at the end. A copy that is only a part is taken, with a line that says so.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from replication.datasets.mapped import each
from replication.datasets.photographs import Copy, Expected, Photograph, opened_photograph
from replication.datasets.pictures import first_of, is_turned, passed_over, turned
from replication.types import InputError

GREY = ("1", "L", "LA", "P", "PA")  # modes of Pillow; a palette is how masks number their parts
FEW = 3  # grey photographs that may share a folder by chance, and files that may be called like others
BESIDE = {  # words in the names of folders that hold something about photographs
    "annotation", "annotations", "depth", "gt", "label", "labels", "mask", "masks", "seg", "segmentation", "segmentations",
}  # fmt: skip


ENDED = re.compile(r"(.+)([-_. ][A-Za-z]+)")  # a file's stem, of another's and a word
MOST = 0.9  # of the photographs have one


def survey(copy: Copy, root: Path, expected: Expected, smallest: int) -> list[str]:
    """Sentences about what was found: numbers and folders, EXIF orientations, files that are not read.

    Raises InputError for a file that can't be opened or is smaller than `smallest`, and for what the module refuses.
    """
    look, sizes, lying = partial(_header, smallest=smallest), Counter[str](), 0
    for split, photographs in copy.splits.items():
        headers = list(each(look, photographs, f"{expected.name} {split}: looking at"))
        lying += sum(is_lying for _, is_lying in headers)
        of_label: dict[int, list[int]] = defaultdict(list)
        for i, photograph in enumerate(photographs):
            of_label[photograph.label].append(i)
        for chosen in of_label.values():
            files = [photographs[i].file for i in chosen]
            branches = _branches(files)
            found = list(zip(branches, (headers[i][0] for i in chosen), strict=True))
            _refuse_masks(found)
            _refuse_companions(files)
            sizes.update(branches)
    n, published = sizes.total(), expected.published
    listed = [f"{os.path.relpath(place, root)}/ ({count:,})" for place, count in sizes.most_common()]
    counted = f"{n:,} images" + (f" in {first_of(listed)}" if len(listed) > 1 and expected.classes == 1 else "")
    if published and n > published:
        raise InputError(f"{root}: {counted}, and {expected.name} has {published:,}: move away what is no part of it")
    known = f"; {expected.name} has {published:,} as published" if published not in (0, n) else ""
    return [line for line in (counted + known, turned(lying), passed_over(copy.skipped)) if line]


def _header(photograph: Photograph, smallest: int) -> tuple[bool, bool]:
    """Whether it is grey, and whether it is to be shown turned or mirrored."""
    with opened_photograph(photograph.file, smallest) as image:
        return image.mode in GREY, is_turned(image.info.get("exif", b""))


def _branches(files: Sequence[str]) -> list[str]:
    """The folder of each file, cut off below the one in which the tree of all first parts."""
    folders = [os.path.dirname(file) for file in files]
    trunk = os.path.commonpath(set(folders))
    below = [folder[len(trunk) :].strip(os.sep).partition(os.sep)[0] for folder in folders]
    return [os.path.join(trunk, name) if name else trunk for name in below]


def _refuse_companions(files: Sequence[str]) -> None:
    """Raises InputError where most files have a companion of nearly or wholly the same name, as photographs have masks."""
    stems: dict[str, set[str]] = defaultdict(set)
    for file in files:
        folder, name = os.path.split(file)
        stems[folder].add(os.path.splitext(name)[0])
    ends = Counter(
        found[2]
        for of_folder in stems.values()
        for stem in of_folder
        if (found := ENDED.fullmatch(stem)) and found[1] in of_folder
    )
    for end, n in ends.items():
        if n >= FEW and n >= MOST * (sum(map(len, stems.values())) - n):
            raise InputError(
                f"{os.path.dirname(files[0])}: {n:,} images are called like another one with {end} at the end: these are "
                "two sets, as photographs and their masks are. Move one of them away"
            )
    for folder, names in stems.items():
        if BESIDE & set(re.split("[^a-z]+", os.path.basename(folder).casefold())):
            for other, photographs in stems.items():
                if other != folder and len(names & photographs) >= max(FEW, MOST * len(names)):
                    raise InputError(
                        f"{folder} has images of the same names as {other}: by its name it holds something about them. Name "
                        "the folder of one of them"
                    )


def _refuse_masks(found: Sequence[tuple[str, bool]]) -> None:
    """Raises InputError where a branch holds grey images alone, and another one photographs in colour."""
    sizes, grey = Counter(branch for branch, _ in found), Counter(branch for branch, is_grey in found if is_grey)
    colourless = [branch for branch, n in sizes.items() if grey[branch] == n >= FEW]
    coloured = [branch for branch, n in sizes.items() if grey[branch] < n]
    if colourless and coloured:
        raise InputError(
            f"{colourless[0]} holds {sizes[colourless[0]]:,} grey images alone, and {coloured[0]} photographs in colour: "
            "these are two sets, as photographs and their masks are. Name the folder of one of them, or put them into one"
        )
