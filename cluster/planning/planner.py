"""From inputs to what is to be done with each: headers, references, and what was done before."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.references import CrdsReferences, ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import ProductRow
from calbatch.cluster.planning.books import Books
from calbatch.cluster.planning.identity import (
    Sums,
    digest,
    identity,
    overrides_of,
    parameters_of,
    settings_digest,
)
from calbatch.cluster.planning.resolving import Fetching, Resolved, resolved
from calbatch.models import datamodels
from calbatch.models.errors import ModelError
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.storage.files import Place, content_digest, glance, look
from calbatch.models.storage.location import Location

SHAPE, TYPE = "array.shape", "array.model"
"""Kept among an exposure's metadata: its array's size, such as 3 x 5 x 64 x 64, and its class."""

READERS = 4
"""Files that are looked at, or whose headers are read, at a time."""

FIRST_BLOCK, BLOCK = 16, 128
"""Exposures that are planned at a time: few at first, so that work begins soon."""


@dataclass(frozen=True)
class Settings:
    """A step's parameters: the user's, or with what CRDS has for some exposures.

    Attributes
    ----------
    step : Step
        Configured.
    digest : str
        Of values, code and software.
    body : mapping
        Values with their sources.
    """

    step: Step
    digest: str
    body: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """Digest of the values with their sources."""
        return digest(self.body)

    @cached_property
    def overrides(self) -> Mapping[str, str]:
        """Files that take references' places, by parameter."""
        return overrides_of(self.step)


@dataclass
class Planned:
    """An exposure, and what is to be done with it.

    Attributes
    ----------
    number, path
        The exposure.
    source : (str, int, int, str), optional
        Path, size, time and header digest of the input as it was when its header was read.
    header : mapping
        Its metadata, and under `SHAPE` the array's, which counts where they contradict it.
    fault : exception, optional
        Why it cannot be calibrated.
    settings : Settings
        How it is calibrated.
    references : ResolvedReferences
        With what.
    made : sequence of ProductRow
        Intact products of the same work, where it was done before.
    deaths : int
        Workers that the same work took with it, alone, when it was tried last.
    seen : bool
        Whether the input is known from before.
    content : str
        Digest of the input's bytes when the same work was done.
    why : str
        Why it is done again though the input's size and time are the same.
    """

    number: int
    path: Location
    settings: Settings
    references: ResolvedReferences
    source: tuple[str, int, int, str] | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    fault: BaseException | None = None
    made: Sequence[ProductRow] = ()
    deaths: int = 0
    seen: bool = False
    content: str = ""
    why: str = ""

    def identity(self, sums: Sums) -> str:
        """Return what makes it the same work as another; waits for references' checksums."""
        if self.source is None:
            return ""
        files = self.files()
        taken = sums.of(files)
        named = {kind: [Path(path).name, taken[kind]] for kind, path in files.items()}
        return identity(self.source, self.settings.digest, named)

    def files(self) -> dict[str, str]:
        """Return its reference files by type."""
        chosen = self.references.chosen.items()
        found = {kind: str(one.path) if one.path else "N/A" for kind, one in chosen}
        return {**found, **self.settings.overrides}


@dataclass(frozen=True)
class Again:
    """What is done again though it was done before.

    Attributes
    ----------
    force : bool
        Everything.
    verify : bool
        What is not as it was, inputs or products, by checksums; otherwise sizes and times tell.
    only_failed : bool
        Nothing but what failed, or was quarantined, when it was tried last.
    """

    force: bool = False
    verify: bool = False
    only_failed: bool = False


class Planner:
    """Plans exposures, some at a time.

    Parameters
    ----------
    step : Step
        The configured step or pipeline.
    references : CrdsReferences
        What chooses references.
    date : str, optional
        What DATE says in products.
    use_pars : bool
        Whether the observatory's parameter references are read.
    fetching : callable, optional
        How references that are not in the cache are fetched; by default without a word.
    books : Books, optional
        What is known of earlier work.
    sums : Sums, optional
        Takes references' checksums; needed with ``books``.
    again : Again
        What is done again.
    verify_inputs : bool
        Whether checksums tell what is wrong with a file that cannot be opened.
    """

    def __init__(
        self,
        step: Step,
        references: CrdsReferences,
        *,
        date: str | None = None,
        use_pars: bool = True,
        fetching: Fetching | None = None,
        books: Books | None = None,
        sums: Sums | None = None,
        again: Again | None = None,
        verify_inputs: bool = False,
    ) -> None:
        self.step, self.references = step, references
        self.again = again or Again()
        self.books, self.sums = books, sums
        self._date, self._use_pars, self._fetching = date, use_pars, fetching
        self._verify_inputs = verify_inputs
        self._settings: dict[tuple[str, ...], Settings] = {}
        self.resolved = Resolved()
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(READERS, "calbatch-planning")

    def blocks(self, inputs: Iterable[tuple[int, Location]]) -> Iterator[list[Planned]]:
        """Plan inputs in blocks, in order.

        Raises
        ------
        RequestError
            When the context's rules are not there or damaged.
        """
        pending = iter(inputs)
        size = FIRST_BLOCK
        while block := list(islice(pending, size)):
            yield self.block(block)
            size = BLOCK

    def block(self, inputs: Sequence[tuple[int, Location]]) -> list[Planned]:
        """Plan some inputs: read their headers, choose their parameters and references."""
        with self._guard:
            return self._apart(inputs)

    def _apart(self, inputs: Sequence[tuple[int, Location]]) -> list[Planned]:
        """Plan inputs together or, where that fails as nobody foresaw, each by itself."""
        try:
            return self._block(inputs)
        except RequestError:
            raise
        except Exception as error:  # one exposure's fault is not the batch's
            if len(inputs) > 1:
                return [planned for each in inputs for planned in self._apart([each])]
            own, none = self._configured(self.step, ()), ResolvedReferences("")
            return [Planned(*inputs[0], own, none, fault=error)]

    def _block(self, inputs: Sequence[tuple[int, Location]]) -> list[Planned]:
        own, none = self._configured(self.step, ()), ResolvedReferences("")
        found = [Planned(number, path, own, none) for number, path in inputs]
        self._add_headers(found)
        headers = {p.number: p.header for p in found if p.fault is None}
        rules = resolved(
            self.step, headers, self.references, self._fetching, use_pars=self._use_pars
        )
        self._remember(rules)
        for planned in found:
            self._add_rules(planned, rules)
        self._compare([p for p in found if p.seen and p.fault is None])
        return found

    def _remember(self, rules: Resolved) -> None:
        self.resolved.context = rules.context or self.resolved.context
        self.resolved.context_reason = rules.context_reason or self.resolved.context_reason
        self.resolved.parameters.update(rules.parameters)

    def _add_headers(self, found: Sequence[Planned]) -> None:
        """Add what the ledger knows of inputs that are unchanged; read the others' headers.

        Disks and stores keep whoever reads a little of each of many files waiting: several are
        read at a time.
        """
        before: dict[int, str] = {}
        if self.books is not None:
            places = list(self._pool.map(glance, [planned.path for planned in found]))
            known = self.books.known_headers([place for place in places if place is not None])
            for planned, place in zip(found, places, strict=True):
                if place is None or place[0] not in known:
                    continue
                if self.again.verify:
                    before[planned.number] = known[place[0]][0]
                else:
                    _add_known(planned, place, known[place[0]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # given again, and kept, when it is calibrated
            list(self._pool.map(self._read_header, [p for p in found if not p.seen]))
        for planned in found:
            if planned.number in before and planned.source is not None:
                planned.seen = planned.source[3] == before[planned.number]
                if not planned.seen:
                    planned.why = "its header has changed, though its size and time have not"

    def _read_header(self, planned: Planned) -> None:
        try:
            stamp = look(planned.path)
            layout = read_layout(stamp)
            with datamodels.open(planned.path, layout) as model:
                shape = " x ".join(map(str, model.shape))
                arrays = {SHAPE: shape, TYPE: type(model).__name__}
                planned.header = {**model.to_flat_dict(), **arrays}
            planned.source = stamp.path, stamp.size, stamp.mtime_ns, layout.digest
        except Exception as error:  # whatever is wrong with a file is that file's
            planned.fault = (damage(planned.path) if self._verify_inputs else None) or error

    def _add_rules(self, planned: Planned, rules: Resolved) -> None:
        planned.fault = planned.fault or rules.faults.get(planned.number)
        if planned.fault is not None:
            return
        step = rules.steps.get(planned.number)
        if step is not None:
            planned.settings = self._configured(step, rules.chosen[planned.number])
        planned.references = rules.references.get(planned.number, ResolvedReferences(rules.context))

    def _configured(self, step: Step, pars: tuple[str, ...]) -> Settings:
        """Return a step's settings; equal parameter references make equal ones."""
        if pars not in self._settings:
            body = parameters_of(step)
            self._settings[pars] = Settings(step, settings_digest(step, self._date), body)
        return self._settings[pars]

    def _compare(self, seen: Sequence[Planned]) -> None:
        """Look whether the same work was done before, and its products are as they were."""
        if self.books is None or self.sums is None:
            return
        same = {p.identity(self.sums): p for p in seen if not p.references.missing}
        deaths, made = self.books.deaths_before([*same]), self.books.made_before([*same])
        contents = self.books.contents_before([*same])
        for own, planned in same.items():
            planned.deaths = deaths.get(own, 0)
            planned.content = contents.get(own, "")
        before = [] if self.again.force else [made.get(own, []) for own in same]
        stays = self._pool.map(self._stays, same.values(), before)
        for planned, products, stay in zip(same.values(), before, stays, strict=False):
            planned.made = products if stay else ()

    def _stays(self, planned: Planned, products: Sequence[ProductRow]) -> bool:
        intact = bool(products) and all(map(self._intact, products))
        return intact and (not self.again.verify or _same_content(planned))

    def _intact(self, product: ProductRow) -> bool:
        try:
            now = glance(product.path)
            if now is None or now[1:] != (product.size, product.mtime_ns):
                return False
            if self.again.verify:
                layout = read_layout(product.path)
                verify_checksums(layout)
                return layout.digest == product.digest
        except (OSError, ModelError):
            return False
        return True


def _add_known(planned: Planned, place: Place, known: tuple[str, dict[str, Any]]) -> None:
    digest, planned.header = known
    planned.source = (*place, digest)
    planned.seen = True


def _same_content(planned: Planned) -> bool:
    """Read an input again, and compare it with what was calibrated."""
    before = planned.content
    try:
        planned.content = content_digest(look(planned.path))
    except ModelError:  # doing it again tells what is wrong
        return False
    if before in ("", planned.content):
        return True
    planned.why = "its contents have changed, though its size, time and header have not"
    return False


def references_of(step: Step, context: str | None = None) -> CrdsReferences:
    """Return what chooses a step's references; where it needs any, ready to.

    Parameters
    ----------
    step : Step
        The configured step or pipeline.
    context : str, optional
        The CRDS context; by default the environment's.

    Raises
    ------
    RequestError
        When there is no reference cache, or it lacks the context.
    """
    references = CrdsReferences(context)
    try:
        if step.wanted_references():
            references.context  # noqa: B018 - opens the cache
    except ReferenceFileError as error:
        raise RequestError(str(error)) from error
    return references


def damage(path: Location) -> ModelError | None:
    """Return what checksums tell about a file that is no exposure: it may have been one."""
    try:
        verify_checksums(read_layout(path))
    except ModelError as error:
        return error
    return None
