"""What holds the tree together, read from its syntax trees: who may write, what checks may import, how large things are.

Each detector is tried on samples first: one that catches nothing would pass on any tree.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("bot", "runbooks", "diagnostics")
SOURCES = {path.relative_to(ROOT).as_posix(): path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), name) for name, path in SOURCES.items()}


def listed(found: list[str]) -> str:
    return "\n" + "\n".join(found)


# --- Who writes

# The simulated world writes to itself; actions are the one place that changes anything real.
WRITERS = ("runbooks/actions/", "bot/sandbox/")
_WRITING_VERBS = {"PATCH", "DELETE", "POST", "PUT"}
_REQUESTS = {"_request", "request", "call_api", "param_serialize"}
_ON_ANYTHING = {
    "patch", "put", "blocklist_add", "blacklist_add", "break_lock", "lock_break", "lock_exclusive", "lock_shared",
    "lock_acquire", "unlock", "remove_object", "write_full", "set_omap", "remove_omap_keys", "osd_blocklist",
    "create_pool", "delete_pool", "trash_move", "remove_image",
}  # fmt: skip
_ON_CLIENTS = {"delete", "create", "replace", "post", "write"}
_CLIENT = re.compile(
    r"(^|[._])(\w*api|clients?|core|core_v1|apps|apps_v1|kube|kubernetes|k8s|rados|ioctx|http|session)\b"
)
_TYPED = re.compile(
    r"(create|patch|delete|replace)_(collection_)?(namespaced|cluster|node|namespace|persistent_volume|volume_attach|csi_)"
)
_READING_COMMANDS = {
    "mon dump",
    "osd dump",
    "mgr dump",
    "fs dump",
    "osd map",
    "sessions",
    "status",
    "health",
    "quorum_status",
    "df",
    "osd tree",
}
_COMMAND_LINE = re.compile(
    r"\b(osd (blocklist|blacklist) (range )?(add|rm|clear)|(rbd|rados) .*\block (break|rm|remove|add|get)\b"
    r"|kubectl (delete|patch|apply|create|replace|edit|drain|cordon|taint|scale))"
)
_LOCK_METHODS = {"break_lock", "unlock", "set_cookie"}
_COMMAND_AS_TEXT = re.compile(r"""["']prefix["']\s*:""")


def writes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The places of a module that look as if they changed a cluster: line and what is wrong with it."""
    commands = {
        id(text) for call in ast.walk(tree) if isinstance(call, ast.Call) and _runs_commands(call)
        for text in ast.walk(call)
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((node.lineno, says) for says in _writing_call(node))
        elif isinstance(node, ast.Dict):
            yield from ((node.lineno, says) for says in _writing_command(node))
        elif isinstance(node, ast.Constant) and id(node) in commands and _COMMAND_LINE.search(str(node.value)):
            yield node.lineno, f"runs {node.value!r}"
        elif isinstance(node, ast.Constant) and _COMMAND_AS_TEXT.search(str(node.value)):
            yield node.lineno, f"holds a mon command as text, which nobody can check: {node.value!r}"


def _writing_call(call: ast.Call) -> Iterator[str]:
    texts = [a.value for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
    if isinstance(call.func, ast.Name) and call.func.id == "getattr" and {*texts} & (_ON_ANYTHING | _ON_CLIENTS):
        yield f"looks up {texts!r} by name"
    if isinstance(call.func, ast.Name) and call.func.id == "dict":
        yield from _writing_command(
            ast.Dict([ast.Constant(k.arg) for k in call.keywords], [k.value for k in call.keywords])
        )
    if not isinstance(call.func, ast.Attribute):
        return
    method, receiver = call.func.attr, ast.unparse(call.func.value).lower()
    receiver = re.sub(r"\([^()]*\)", "", receiver)
    if method in _ON_ANYTHING or _TYPED.match(method):
        yield f"calls {receiver}.{method}"
    if method in _ON_CLIENTS and _CLIENT.search(receiver):
        yield f"calls {receiver}.{method}"
    if method in _REQUESTS and {str(t).upper() for t in texts} & _WRITING_VERBS:
        yield f"sends {texts!r}"
    if method in ("execute", "execute_each", "aio_execute") and len(call.args) > 2 and {*texts} & _LOCK_METHODS:
        yield f"executes {texts!r}"


def _writing_command(node: ast.Dict) -> Iterator[str]:
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "prefix":
            command = value.value if isinstance(value, ast.Constant) else None
            if command not in _READING_COMMANDS:
                yield f"sends the mon command {ast.unparse(value)}, which is not known to read only"
        if isinstance(key, ast.Constant) and key.value == "blocklistop":
            yield "changes the blocklist"


def _runs_commands(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    return name.startswith(("subprocess.", "os.system", "os.exec", "os.spawn")) or "subprocess" in name


def offences(samples: str) -> list[str]:
    return [says for _, says in writes(ast.parse(samples))]


@pytest.mark.parametrize(
    "sample",
    [
        "await api.patch(target, {}, dry_run=False)",
        "self.api.delete(target)",
        "clients.api().delete(target, grace_seconds=0)",
        "anything.patch(x)",
        "anything.put(x)",
        "core_v1.replace(x)",
        "self._client.create(x)",
        "session.post(url, json=x)",
        "v1.delete_namespaced_pod('p', 'n')",
        "v1.patch_node('n', body)",
        "v1.create_namespaced_pod_eviction('p', 'n', body)",
        "v1.replace_namespaced_lease('l', 'n', body)",
        "v1.delete_collection_namespaced_pod('n')",
        "custom.patch_cluster_custom_object('g', 'v', 'p', 'n', body)",
        "await self._request('PATCH', path, None, body)",
        "await client.call_api('/api/v1/pods', 'DELETE')",
        "await client.param_serialize(method='post', resource_path=p)",
        "session.request('put', url)",
        "rados.mon({'prefix': 'osd blocklist', 'blocklistop': 'add', 'addr': entry})",
        "rados.mon({'prefix': 'osd blocklist', 'addr': entry})",
        "rados.mon({'prefix': command})",
        "rados.mon(dict(prefix='osd blocklist', blocklistop='rm', addr=a))",
        'cluster.mon_command(\'{"prefix": "osd blocklist", "blocklistop": "add"}\', b"")',
        'cluster.mon_command(f\'{{"prefix": "{command}"}}\', b"")',
        "rados.mon({'prefix': 'osd pool delete'})",
        "cluster.blocklist_add('10.0.0.1', 3600)",
        "image.break_lock('client.1', 'cookie')",
        "image.lock_break('client.1')",
        "image.lock_exclusive('c')",
        "rados.execute(pool, ns, oid, 'lock', 'break_lock', data)",
        "ioctx.execute(oid, 'lock', 'unlock', data)",
        "ioctx.write_full('o', b'')",
        "ioctx.remove_object('o')",
        "subprocess.run(['sh', '-c', 'ceph osd blocklist add 10.0.0.1'])",
        "asyncio.create_subprocess_shell('rbd -p x lock rm image id locker')",
        "os.system('kubectl delete pod x')",
        "getattr(api, 'patch')(x)",
        "getattr(v, 'break_lock')(x)",
    ],
)
def test_the_detector_sees_a_writing_call(sample: str) -> None:
    assert offences(sample), sample
    assert offences(f"async def f():\n    async with a as b:\n        await asyncio.to_thread(lambda: {sample})"
                    if "await" not in sample else f"async def f():\n    {sample}"), sample  # fmt: skip


@pytest.mark.parametrize(
    "sample",
    [
        "text.replace('a', 'b')",
        "msgspec.structs.replace(plan, hash=x)",
        "now().replace(microsecond=0)",
        "web.post('/alerts', handler)",
        "connection.execute(delete(sightings).where(x))",
        "await api.get(path, query)",
        "await self._request('GET', path)",
        "rados.mon({'prefix': 'osd dump'})",
        "rados.mon({'prefix': 'sessions'}, name)",
        "rados.execute(pool, ns, oid, cls_lock.CLASS, 'get_info', data)",
        "ioctx.execute(oid, cls, method, data)",
        "client.chat_postMessage(channel=c)",
        "move = 'look at `ceph osd blocklist ls`'",
        "'''Never run `kubectl delete pod`.'''",
        "print('unlock')",
        "{'name': 'x', 'addr': y}",
        "getattr(entry, 'secret', None)",
    ],
)
def test_the_detector_leaves_reading_and_ordinary_words_alone(sample: str) -> None:
    source = sample if "await" not in sample else f"async def f():\n    {sample}"
    assert not offences(source), sample


# The bot's own Lease, where there is no path to anything else; and a file, brought to the address that Slack gave for it.
_OTHER_WRITES = {
    ("bot/lease.py", "sends ['POST', None]"), ("bot/lease.py", "sends ['PUT', None]"),
    ("bot/slack/posting.py", "calls session.post"),
}  # fmt: skip


def test_nothing_writes_to_a_cluster_but_the_actions() -> None:
    found = [
        f"{name}:{line}: {says}" for name, tree in TREES.items() if not name.startswith(WRITERS)
        for line, says in writes(tree) if (name, says) not in _OTHER_WRITES
    ]  # fmt: skip
    assert not found, listed(found)


def test_the_module_of_the_lease_has_no_path_but_to_leases() -> None:
    texts = [str(node.value) for node in ast.walk(TREES["bot/lease.py"]) if isinstance(node, ast.Constant)]
    assert {text for text in texts if text.startswith("/")} == {
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
        "/",
    }
    assert len(list(writes(TREES["bot/lease.py"]))) == 2


def test_the_actions_themselves_would_be_seen() -> None:
    seen = {name for name, tree in TREES.items() if name.startswith("runbooks/actions/") and list(writes(tree))}
    assert seen >= {
        "runbooks/actions/kubernetes_api.py", "runbooks/actions/ceph/break_lock.py", "runbooks/actions/ceph/fence.py",
        "runbooks/actions/switches.py", "runbooks/actions/kubernetes/delete_pod.py",
        "runbooks/actions/kubernetes/force_delete_pod.py",
    }  # fmt: skip


# --- What a check may know

_CHECKS_MAY_IMPORT = (
    "diagnostics.checks", "diagnostics.model", "diagnostics.facts", "diagnostics.causes", "diagnostics.verdicts",
    "diagnostics.attachments", "diagnostics.rollouts",
    "collections.abc", "dataclasses", "datetime", "enum", "functools", "itertools", "ipaddress", "re", "typing",
)  # fmt: skip
_LIKE_CHECKS = ("diagnostics/attachments/", "diagnostics/rollouts/")
_IMPURE = {"now", "today", "utcnow", "time", "monotonic", "open", "print", "getenv", "urandom", "random", "sleep"}


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def impurities(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What a check must not do: import more than facts and words, ask for the time, read or print."""
    for line, name in imports(tree):
        if not any(name == known or name.startswith(f"{known}.") for known in _CHECKS_MAY_IMPORT):
            yield line, f"imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in _IMPURE:
                yield node.lineno, f"calls {called}"
        if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.Global | ast.Nonlocal):
            yield node.lineno, "waits, or keeps something between calls"


@pytest.mark.parametrize(
    "sample",
    [
        "import diagnostics.sources", "from diagnostics.sources.kubernetes.api import Api", "import os", "import msgspec",
        "from diagnostics import chain", "from diagnostics.scan import scan", "from runbooks.model import Risk",
        "from . import x", "import diagnostics.factsheet", "datetime.now()", "time.monotonic()", "open('x')",
        "async def find(x): ...", "def f():\n    global x",
    ],
)  # fmt: skip
def test_the_detector_sees_an_impure_check(sample: str) -> None:
    assert list(impurities(ast.parse(sample))), sample


def test_checks_know_facts_and_words_only_and_no_time_but_the_snapshots() -> None:
    found = [
        f"{name}:{line}: {says}" for name, tree in TREES.items()
        if name.startswith(("diagnostics/checks/", *_LIKE_CHECKS))
        for line, says in impurities(tree)
        if not (name.startswith(_LIKE_CHECKS) and says == "imports msgspec")  # they have data of their own
    ]  # fmt: skip
    assert not found, listed(found)


# --- Sizes

LONGEST_MODULE, LONGEST_CHECK, LONGEST_FUNCTION = 400, 85, 60
# What may be longer, up to where, and why.
LONGER_MODULES: dict[str, int] = {}
LONGER_FUNCTIONS = {
    "bot/store/migrations/versions/0001_first.py:upgrade": 80,  # a list of tables
    "bot/store/migrations/versions/0002_slack.py:upgrade": 100,
}


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_functions_are_measured_with_all_their_lines() -> None:
    (measured,) = functions(ast.parse("def f(\n    x,\n):\n    return [\n        x,\n    ]\n"))
    assert measured == ("f", 6)


def test_no_module_is_too_long() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in SOURCES.items()}
    limits = {name: LONGEST_CHECK if name.startswith("diagnostics/checks/") else LONGEST_MODULE for name in lengths}
    limits |= LONGER_MODULES
    found = [f"{name}: {lengths[name]} lines" for name in lengths if lengths[name] > limits[name]]
    assert not found, listed(found)
    idle = [name for name in LONGER_MODULES if lengths.get(name, 0) <= LONGEST_MODULE]
    assert not idle, f"no longer an exception: {idle}"


def test_no_function_is_too_long() -> None:
    lengths = {f"{name}:{function}": length for name, tree in TREES.items() for function, length in functions(tree)}
    found = [
        f"{n}: {length} lines" for n, length in lengths.items() if length > LONGER_FUNCTIONS.get(n, LONGEST_FUNCTION)
    ]
    assert not found, listed(found)
    idle = [name for name in LONGER_FUNCTIONS if lengths.get(name, 0) <= LONGEST_FUNCTION]
    assert not idle, f"no longer an exception: {idle}"


# --- Documentation


def undocumented(tree: ast.Module) -> Iterator[str]:
    """The module itself, and public classes and functions at its top, without a docstring."""
    if not ast.get_docstring(tree):
        yield "the module"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                method = isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_")
                if method and not ast.get_docstring(inner):
                    yield f"{node.name}.{inner.name}"


def test_the_detector_sees_what_is_not_documented() -> None:
    sample = 'class A:\n    """Doc."""\n    def b(self): ...\n    def _c(self): ...\ndef d(): ...\ndef _e(): ...\n'
    assert list(undocumented(ast.parse(sample))) == ["the module", "A.b", "d"]


def test_everything_public_is_documented() -> None:
    found = [f"{name}: {what}" for name, tree in TREES.items() for what in undocumented(tree)]
    assert not found, listed(found)


# --- What the tree must not name

# Written in pieces, so that this file itself names none of them.
_HOSTS = [
    "pypi" + ".org", "files.python" + "hosted", "pythonhosted" + ".org", "deb.debian" + ".org",
    "ftp.debian" + ".org", "archive.ubuntu" + ".com", "security.debian" + ".org", "registry.npm" + "js.org",
    "proxy.golang" + ".org", "crates" + ".io", "download.ceph" + ".com", "dl.k8s" + ".io", "conda." + "anaconda",
    "test.py" + "pi",
]  # fmt: skip
_PATHS = ["/wo" + "rk/", "/tmp/" + "lab", "/home/" + "runner"]
_PACKAGE = re.compile(r"https?://[^\s\"'<>]+\.(?:whl|deb|rpm|tar\.gz|tgz|apk|gem)\b")


def named(text: str) -> list[str]:
    return [name for name in (*_HOSTS, *_PATHS) if name in text] + _PACKAGE.findall(text)


@pytest.mark.parametrize(
    "sample",
    [
        "--index-url https://py" + "pi.org/simple",
        "deb http://" + "deb.debian" + ".org/debian sid main",
        "cd /wo" + "rk/main",
        "https://mirror.example/pool/ceph" + "_18.2.7.deb",
        "https://mirror.example/a" + "-1.0-py3-none-any.whl",
    ],
)
def test_the_detector_sees_a_host_a_path_and_a_package(sample: str) -> None:
    assert named(sample)


def test_the_detector_leaves_prose_and_other_addresses_alone() -> None:
    assert not named("rados is not on PyPI; see https://docs.ceph.com/en/latest/ and work/main")


def tracked() -> list[Path]:
    """The files of the tree: what git tracks, or all that is there where the tree is no checkout."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        told = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
        return [ROOT / name for name in told.stdout.split("\0") if name and (ROOT / name).is_file()]
    hidden = {".venv", ".git", "__pycache__"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not hidden & set(p.parts)]


def test_no_file_names_a_package_registry_or_a_place_on_somebodys_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {', '.join(names)}" for path in tracked()
        if (names := named(path.read_bytes().decode("utf-8", "replace")))
    ]  # fmt: skip
    assert not found, listed(found)


# --- Contracts


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    told = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "0 broken" in told.stdout
