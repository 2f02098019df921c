"""Labels and their class ids.

Ids outlive label lists, because costmaps and maps keep old ids for a while. A label that stays keeps its id. The id of
a removed label keeps its meaning as long as another id is free, and only the same label gets it back. All functions are
pure: `assign` makes the next set from the one in force, or raises.
"""

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lseg_ros.inference.taught import Taught

Color = tuple[int, int, int]


class LabelError(ValueError):
    """A list of labels is refused. The message says which label and why."""


@dataclass(frozen=True)
class LabelSpec:
    """A requested label.

    Attributes:
        name: The name for consumers.
        class_id: The value of its pixels in the mask; None for an automatic one.
        prompts: Phrases that stand for it. The best one counts. Empty: the name.
        threshold: Confidence in [0, 1] below which its pixels are unknown; 0 for the segmenter's.
        background: Whether it competes but its pixels are unknown.
        color: RGB, 0 to 255; None for the palette's.
        taught: What it was taught by marked pixels, if anything.
    """

    name: str
    class_id: int | None = None
    prompts: tuple[str, ...] = ()
    threshold: float = 0.0
    background: bool = False
    color: Color | None = None
    taught: Taught | None = None


@dataclass(frozen=True)
class Label:
    """A label in force: as `LabelSpec`, with all values filled in. A background label has the unknown id."""

    name: str
    class_id: int
    prompts: tuple[str, ...]
    threshold: float
    background: bool
    color: Color
    taught: Taught | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The prompts that compete. There are none if the label competes only by what it was taught."""
        return () if self.taught is not None and self.taught.alone else self.prompts

    def spec(self) -> LabelSpec:
        """Returns a spec that requests this label again."""
        class_id = None if self.background else self.class_id
        prompts = () if self.prompts == (self.name,) else self.prompts
        return LabelSpec(self.name, class_id, prompts, self.threshold, self.background, self.color, self.taught)

    def message_fields(self) -> dict[str, Any]:
        """Returns the fields of lseg_ros/msg/Label that have plain types, without `score_topic`."""
        return {
            "name": self.name,
            "class_id": self.class_id,
            "prompts": list(self.prompts),
            "threshold": self.threshold,
            "background": self.background,
        }


@dataclass(frozen=True)
class Retired:
    """A label that was removed.

    Attributes:
        name: Its name.
        class_id: The id that it had.
        since: When it was removed, in seconds of the clock of `assign`.
    """

    name: str
    class_id: int
    since: float


@dataclass(frozen=True)
class LabelSet:
    """The labels in force.

    Attributes:
        version: Increases by one with every change.
        labels: The labels in the order of the request.
        retired: Removed labels whose ids were not used since, the one that was removed first at the front.
    """

    version: int = 0
    labels: tuple[Label, ...] = ()
    retired: tuple[Retired, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return [label.name for label in self.labels]

    def ids_and_names(self) -> list[tuple[int, str]]:
        """Returns the content of vision_msgs/LabelInfo: retired ids that still mean a label, then the labels in force.

        Background labels are left out. A label that has become background is listed as retired, because masks with its
        id may still be on their way. A reader that keeps one id for each name keeps the last one, so retired ids come
        first.
        """
        retired = [(label.class_id, label.name) for label in self.retired]
        return retired + [(label.class_id, label.name) for label in self.labels if not label.background]

    def index(self, name: str) -> int:
        """Returns the index of a label.

        Args:
            name: The label's name.

        Raises:
            ValueError: There is no such label. The message names those that exist.
        """
        for i, label in enumerate(self.labels):
            if label.name == name:
                return i
        raise ValueError(f"there is no label {name!r}; there are: {listed(self.names)}")


@dataclass(frozen=True)
class IdRules:
    """The rules for class ids.

    Attributes:
        max_id: The largest id that the mask can hold.
        unknown_id: The id of unknown pixels. No label gets it.
        quarantine: Seconds for which a removed id is not given to another label on request.
    """

    max_id: int = 255
    unknown_id: int = 255
    quarantine: float = 30.0


@dataclass
class _Ids:
    """The ids of an unfinished assignment."""

    rules: IdRules
    before: dict[str, int]
    retired: dict[int, Retired] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)

    def automatic(self, name: str) -> int:
        """Returns the id of a label that stays, else the id that a retired label of this name had, else a free one."""
        if name in self.before:
            return self.before[name]
        taken = self.used | set(self.before.values()) | {self.rules.unknown_id}
        for i, retired in self.retired.items():
            if retired.name == name and i not in taken:
                return i
        return self._free(taken)

    def _free(self, taken: set[int]) -> int:
        """Returns the lowest id that was never used, else the one that was retired first."""
        for i in range(1, self.rules.max_id + 1):
            if i not in taken and i not in self.retired:
                return i
        for i in self.retired:
            if i > 0 and i not in taken:
                return i
        count = self.rules.max_id + 1 - len({0, self.rules.unknown_id} & set(range(self.rules.max_id + 1)))
        raise LabelError(
            f"there are more labels than ids: the mask encoding has {count}; use fewer labels or a 16-bit mask_encoding"
        )


def as_specs(labels: Iterable[str | LabelSpec], class_ids: Sequence[int] | None = None) -> list[LabelSpec]:
    """Makes specs of names or specs, without the blanks around texts.

    Args:
        labels: Names or specs.
        class_ids: An id for each label, or None.

    Returns:
        A spec for each label.

    Raises:
        LabelError: The numbers of labels and ids differ, or a single text was given where a list belongs.
    """
    if isinstance(labels, str):
        raise LabelError(f"labels are a list of texts; put {labels!r} into one")
    specs = [LabelSpec(label) if isinstance(label, str) else label for label in labels]
    if class_ids is not None and len(class_ids) > 0:
        if len(class_ids) != len(specs):
            raise LabelError(
                f"there are {len(specs)} labels and {len(class_ids)} class ids; give one for each label or none"
            )
        specs = [replace(spec, class_id=int(i)) for spec, i in zip(specs, class_ids, strict=True)]
    return [replace(s, name=s.name.strip(), prompts=tuple(p.strip() for p in s.prompts)) for s in specs]


def assign(
    before: LabelSet, specs: Sequence[LabelSpec], rules: IdRules, *, now: float = 0.0, force: bool = False
) -> LabelSet:
    """Makes the next label set.

    Args:
        before: The set in force.
        specs: The requested labels, from `as_specs`.
        rules: The rules for ids.
        now: Seconds, from the same clock in every call.
        force: Whether ids may move to other labels, and be used again within the quarantine.

    Returns:
        The set, one version later.

    Raises:
        LabelError: The list is refused. The message names the label and the reason.
    """
    _check_text(specs)
    _check_ids(specs, rules)
    kept = {s.name for s in specs if not s.background}
    ids = _Ids(
        rules,
        before={x.name: x.class_id for x in before.labels if not x.background and x.name in kept},
        retired={r.class_id: r for r in before.retired},
    )
    for label in before.labels:
        if not label.background and label.name not in kept:
            ids.retired[label.class_id] = Retired(label.name, label.class_id, now)
    for spec in specs:
        if spec.class_id is not None and not spec.background:
            _claim(spec.name, spec.class_id, ids, now, force)
    # Automatic ids come last, so that none of them takes an id that the request names.
    labels = []
    for spec in specs:
        if spec.background:
            class_id = rules.unknown_id
        elif spec.class_id is not None:
            class_id = spec.class_id
        else:
            class_id = ids.automatic(spec.name)
            ids.used.add(class_id)
            ids.retired.pop(class_id, None)
        color = palette_color(class_id) if spec.color is None else spec.color
        prompts = spec.prompts or (spec.name,)
        labels.append(Label(spec.name, class_id, prompts, spec.threshold, spec.background, color, spec.taught))
    return LabelSet(before.version + 1, tuple(labels), tuple(ids.retired.values()))


def _claim(name: str, class_id: int, ids: _Ids, now: float, force: bool) -> None:
    """Takes an id that the request names; raises LabelError if somebody may still rely on its old meaning."""
    owner = next((n for n, i in ids.before.items() if i == class_id and n != name), None)
    old = ids.before.get(name)
    if old is not None and old != class_id:
        if not force:
            raise LabelError(
                f"the label {name!r} has id {old} and the request moves it to {class_id}, which would change the "
                "meaning of masks already sent; keep the id, or set force"
            )
        ids.retired[old] = Retired(name, old, now)
        ids.before.pop(name)
    if owner is not None:
        if not force:
            raise LabelError(f"id {class_id} belongs to the label {owner!r}; choose another for {name!r}, or set force")
        ids.before.pop(owner)
    recent = [r for r in ids.retired.values() if r.name == name and now - r.since < ids.rules.quarantine]
    if recent and class_id != old and class_id not in [r.class_id for r in recent] and not force:
        raise LabelError(
            f"the label {name!r} had id {recent[-1].class_id} until {now - recent[-1].since:.0f} s ago and consumers "
            f"that know one id for a name would forget it for {class_id}; give it its old id, wait "
            f"{ids.rules.quarantine:g} s, or set force"
        )
    retired = ids.retired.get(class_id)
    if retired is not None and retired.name != name and now - retired.since < ids.rules.quarantine and not force:
        raise LabelError(
            f"id {class_id} belonged to {retired.name!r} until {now - retired.since:.0f} s ago and consumers may "
            f"still hold it; choose another for {name!r}, wait {ids.rules.quarantine:g} s, or set force"
        )
    ids.retired.pop(class_id, None)
    ids.used.add(class_id)


def _check_text(specs: Sequence[LabelSpec]) -> None:
    if not specs:
        raise LabelError("the list of labels is empty; give at least one")
    seen: set[str] = set()
    for i, spec in enumerate(specs):
        if not spec.name:
            raise LabelError(f"label {i + 1} of {len(specs)} is empty or blank; give it a name")
        for text in (spec.name, *spec.prompts):
            if not text:
                raise LabelError(f"a prompt of the label {spec.name!r} is empty or blank; remove it")
            _check_characters("label", text)
        if spec.name in seen:
            raise LabelError(f"the label {spec.name!r} is there more than once; name each label once")
        seen.add(spec.name)
        if not 0.0 <= spec.threshold <= 1.0:
            raise LabelError(f"the threshold of {spec.name!r} is {spec.threshold:g}; it must be between 0 and 1")
    if all(spec.background for spec in specs):
        raise LabelError("all labels are background, so every pixel would be unknown; add one that is not")


def listed(names: Collection[str], most: int = 50) -> str:
    """Returns names for a log, in quotes because names may contain commas. Of very many, only the first are listed."""
    shown = ", ".join(repr(name) for name in list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def split_phrase(names: Sequence[str]) -> str:
    """Returns the phrase that was probably meant by a list of single characters, or an empty text.

    Command lines split a text into its letters if a list is expected: `{labels: path}` instead of `{labels: [path]}`.
    """
    phrase = "".join(names)
    is_split = len(names) > 1 and all(len(name) == 1 for name in names) and phrase.isascii()
    return phrase if is_split else ""


def check_phrases(phrases: Sequence[str]) -> None:
    """Raises LabelError unless there are phrases, and none is blank or has control characters."""
    if not phrases:
        raise LabelError("the list of phrases is empty; give at least one")
    for i, phrase in enumerate(phrases):
        if not phrase:
            raise LabelError(f"phrase {i + 1} of {len(phrases)} is empty or blank; remove it")
        _check_characters("phrase", phrase)


def _check_characters(what: str, text: str) -> None:
    bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs")), None)
    if bad is not None:
        raise LabelError(f"the {what} {text!r} has a control character, {bad!r}; remove it")


def _check_ids(specs: Sequence[LabelSpec], rules: IdRules) -> None:
    owners: dict[int, str] = {}
    for spec in specs:
        i = spec.class_id
        if i is None or (spec.background and i == rules.unknown_id):
            continue
        if i == rules.unknown_id:
            raise LabelError(f"the label {spec.name!r} asks for id {i}, which means unknown; choose another")
        if spec.background:
            raise LabelError(f"the label {spec.name!r} is background and has no id of its own; leave out {i}")
        if not 0 <= i <= rules.max_id:
            raise LabelError(f"the label {spec.name!r} asks for id {i}; the mask encoding holds 0 to {rules.max_id}")
        if i in owners:
            raise LabelError(f"the labels {owners[i]!r} and {spec.name!r} both ask for id {i}; ids must differ")
        owners[i] = spec.name


def palette_color(class_id: int) -> Color:
    """Returns the RGB of an id in PASCAL VOC's color map: the id's bits, spread over the three channels."""
    rgb = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            rgb[channel] |= ((class_id >> channel) & 1) << (7 - bit)
        class_id >>= 3
    return rgb[0], rgb[1], rgb[2]
