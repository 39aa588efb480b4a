"""A CRDS server on loopback that serves a cache by the real protocol, with faults on request."""

import contextlib
import gzip
import hashlib
import json
import random
import re
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from calbatch.crds_client.cache.layout import Cache
from calbatch.crds_client.rules.mapping import PipelineRules, load_mapping, mapping_checksum
from support.waiting import be_slow

CONTEXT = "jwst_0002.pmap"
HEADER = {"INSTRUME": "MIRI", "DETECTOR": "A", "DATE-OBS": "2020-01-01", "TIME-OBS": "00:00:00"}


def write_mapping(folder: Path, name: str, header: dict, selector: str) -> None:
    """Write a rules file with its checksum."""
    common = {"name": name, "derived_from": "by hand", "observatory": "JWST", **header}
    text = f"header = {common!r}\nselector = {selector}\n"
    text = text.replace("{", "{\n'sha1sum' : 'SUM',\n", 1)
    (folder / name).write_text(text.replace("SUM", mapping_checksum(text)))


def make_cache(root: Path, references: int = 6, size: int = 50_000) -> Cache:
    """Make a cache with two contexts of one instrument and files of random bytes."""
    cache, rng = Cache(root), random.Random(1)
    for folder in (cache.mappings, cache.references / "miri", cache.config):
        folder.mkdir(parents=True)
    (cache.config / "ref_cache_subdir_mode").write_text("instrument")
    names = [f"jwst_miri_flat_{number:04}.fits" for number in range(references)]
    for name in names:
        (cache.references / "miri" / name).write_bytes(rng.randbytes(size + rng.randrange(999)))
    for serial in ("0001", "0002"):
        chosen = {"A": names[int(serial) % references], "B": names[-1]}
        rules = ", ".join(
            f"{key!r}: UseAfter({{'1900-01-01 00:00:00': {value!r}}})"
            for key, value in [*chosen.items(), *((f"X{n}", n) for n in names)]
        )
        parkey = (
            ("META.INSTRUMENT.DETECTOR",),
            ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME"),
        )
        rmap, imap = f"jwst_miri_flat_{serial}.rmap", f"jwst_miri_{serial}.imap"
        kind = {"mapping": "REFERENCE", "instrument": "MIRI", "filekind": "FLAT", "parkey": parkey}
        write_mapping(cache.mappings, rmap, kind, f"Match({{{rules}}})")
        kind = {"mapping": "INSTRUMENT", "instrument": "MIRI", "parkey": ("REFTYPE",)}
        write_mapping(cache.mappings, imap, kind, repr({"FLAT": rmap, "DARK": "N/A"}))
        kind = {"mapping": "PIPELINE", "parkey": ("META.INSTRUMENT.NAME",)}
        write_mapping(cache.mappings, f"jwst_{serial}.pmap", kind, repr({"MIRI": imap}))
    return cache


class CrdsServer:
    """Serves a cache.

    Faults are set per file name, one for each request, in order: ``cut`` (half of the bytes, then
    the connection closes), ``wrong`` (flipped bits), ``500``, ``gone`` (404), ``slow`` (pauses
    between chunks), ``stall`` (no response until the client hangs up), ``halt`` (half of the bytes,
    and nothing more until it hangs up), ``long`` (too many bytes). ``left`` lists the files after
    whose stall or halt a client has hung up.

    ``raw`` maps a method or a file name to the chunks of a complete response, which are sent
    unchanged.
    """

    def __init__(self, cache: Cache, *, ranges: bool = True, pause: float = 0.0) -> None:
        self.cache, self.ranges, self.pause = cache, ranges, pause
        self.faults: dict[str, list[str]] = {}
        self.rpc_faults: list[str] = []
        self.meeting: threading.Barrier | None = None
        self.answers: dict[str, object] = {}
        self.raw: Callable[[str], Iterable[bytes]] | None = None
        self.asked: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.left: list[str] = []
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"crds": self}))
        self.http.daemon_threads = True
        self.url = f"http://localhost:{self.http.server_port}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def meet(self, count: int) -> None:
        """Hold the next requests for files until a number of them has arrived."""
        self.meeting = threading.Barrier(count, action=self._adjourn)

    def _adjourn(self) -> None:
        self.meeting = None

    @property
    def files(self) -> dict[str, Path]:
        """Return all served files by name."""
        paths = [*self.cache.mappings.glob("*map"), *self.cache.references.rglob("jwst_*")]
        return {path.name: path for path in paths}

    def next_fault(self, name: str) -> str:
        """Return the fault of the next request, and consume it."""
        with self.lock:
            self.asked[name] += 1
            waiting = self.faults.get(name) or [""]
            return waiting.pop(0) if self.faults.get(name) else waiting[0]

    def info_map(self) -> dict[str, dict[str, str]]:
        """Describe all files like the server's catalogue."""
        return {
            name: {
                "size": str(path.stat().st_size),
                "sha1sum": hashlib.sha1(path.read_bytes()).hexdigest(),
                "instrument": "miri",
            }
            for name, path in self.files.items()
        }

    def call(self, method: str, parameters: list) -> object:
        """Answer a call."""
        if method in self.answers:
            return self.answers[method]
        return getattr(self, f"rpc_{method}")(*parameters)

    def rpc_get_server_info(self):
        return {
            "observatory": "jwst",
            "operational_context": CONTEXT,
            "latest_context": CONTEXT,
            "edit_context": CONTEXT,
            "bad_files_list": [],
            "crds_version": {"str": "14.0.0"},
            "force_remote_mode": False,
            "mappings": sorted(name for name in self.files if name.endswith("map")),
            "mapping_url": {"jwst": f"{self.url}/mappings/jwst/"},
            "reference_url": {"jwst": f"{self.url}/references/jwst/"},
            "last_synced": "2026-01-01 00:00:00",
            "download_metadata": encode_answer(self.info_map()),
        }

    def rpc_get_default_context(self, observatory, state="latest"):
        return {"latest": CONTEXT, "edit": CONTEXT}[state]

    def rpc_get_build_context(self, observatory, version):
        return "jwst_0001.pmap"

    def rpc_get_context_by_date(self, date, observatory=None):
        return "jwst_0001.pmap" if date < "2020" else CONTEXT

    def rpc_get_mapping_names(self, context):
        read = Cache(self.cache.root).read_mapping
        return sorted(PipelineRules(load_mapping(context, read), read).mappings())

    def rpc_get_file_info_map(self, observatory, files=None, fields=None):
        known = self.info_map()
        unknown = "NOT FOUND not known"
        return {name: known.get(name, unknown) for name in (files or known)}

    def rpc_get_file_info(self, context, name):
        return self.info_map()[name]

    def rpc_get_required_parkeys(self, context):
        names = ["META.INSTRUMENT.DETECTOR", "META.OBSERVATION.DATE", "META.OBSERVATION.TIME"]
        return {"miri": ["META.INSTRUMENT.NAME", "REFTYPE", *names]}

    def rpc_get_best_references(self, context, header, types=None):
        read = Cache(self.cache.root).read_mapping
        rules = PipelineRules(load_mapping(context, read), read)
        found = rules.instrument(header["META.INSTRUMENT.NAME"]).resolve(header, types)
        return {
            kind: one.name
            or ("NOT FOUND n/a" if one.status == "n/a" else f"NOT FOUND {one.reason}")
            for kind, one in found.items()
        }


def encode_answer(value: object) -> dict[str, str]:
    """Pack an answer like the server's long answers."""
    payload = b64encode(gzip.compress(json.dumps(value).encode())).decode()
    return {"crds_encoded": "1.0", "crds_payload": payload}


class Handler(BaseHTTPRequestHandler):
    """Answers one request; ``crds`` is the `CrdsServer`."""

    protocol_version = "HTTP/1.1"
    crds: CrdsServer

    def log_message(self, *_):
        pass

    def send_raw(self, asked):
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client has hung up
            for piece in self.crds.raw(asked):
                self.wfile.write(piece)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.crds.requests.append(("rpc", body["method"]))
        if self.crds.raw is not None:
            self.send_raw(body["method"])
            return
        fault = self.crds.rpc_faults.pop(0) if self.crds.rpc_faults else ""
        if fault == "500":
            self.send_error(500)
            return
        if fault == "stall":
            self.wait_for_the_client_to_hang_up()
            return
        answer: dict[str, object] = {"id": body["id"], "error": None, "result": None}
        assert re.search(rf"/json/{body['method']}/[^/]+/$", self.path)
        assert body["jsonrpc"] == "1.0"
        try:
            answer["result"] = self.crds.call(body["method"], body["params"])
        except Exception as error:
            answer["error"] = {"message": f"{type(error).__name__} &lt;{error}&gt;"}
        text = b"<html>" if fault == "html" else json.dumps(answer).encode()
        self.respond(200, text, {})

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        if self.crds.raw is not None:
            self.send_raw(name)
            return
        self.crds.requests.append((self.headers.get("Range", "whole"), name))
        if self.crds.meeting is not None:
            self.crds.meeting.wait()
        fault = self.crds.next_fault(name)
        path = self.crds.files.get(name)
        if fault == "500":
            self.send_error(500)
        elif fault == "gone" or path is None:
            self.send_error(404)
        else:
            self.send_file(path.read_bytes(), fault)

    def send_file(self, content, fault):
        if fault == "wrong":
            content = bytes([content[0] ^ 1]) + content[1:]
        if fault == "long":
            content += b"more"
        if fault == "stall":
            self.wait_for_the_client_to_hang_up()
            return
        start, status, extra = 0, 200, {}
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found and self.crds.ranges:
            start, status = int(found[1]), 206
            extra["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.respond(status, content[start:], extra, fault)

    def wait_for_the_client_to_hang_up(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.recv(1)
        self.crds.left.append(self.path.rsplit("/", 1)[-1])

    def respond(self, status, content, extra, fault=""):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **extra}.items():
            self.send_header(key, value)
        self.end_headers()
        pause = 0.05 if fault == "slow" else self.crds.pause
        if fault in ("cut", "halt"):
            content, self.close_connection = content[: len(content) // 2], True
        pieces = 8 if pause else 1
        step = -(-len(content) // pieces) or 1
        with contextlib.suppress(ConnectionError):
            for begin in range(0, len(content), step):
                self.wfile.write(content[begin : begin + step])
                be_slow(pause)
        if fault == "halt":
            self.wait_for_the_client_to_hang_up()
