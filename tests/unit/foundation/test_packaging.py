"""What is shipped beside the program: the lock file, the compose file, the README's commands. All of it is real."""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from headend.bootstrap import ROLES
from headend.cli import app
from headend.settings import load_settings

ROOT = Path(__file__).parents[3]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image") == "headend"}
PACKAGES = ("headend", "drivers", "reconciliation")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """Entries of the lock file: name → the whole entry."""
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    return {normal(re.split(r"[=\s]", entry, maxsplit=1)[0]): entry for entry in entries if not entry.startswith("#")}


def test_every_locked_package_is_pinned_with_hashes() -> None:
    entries = locked()
    assert len(entries) > 50
    for name, entry in entries.items():
        assert re.match(r"[A-Za-z0-9._-]+==\S+( ; .+)? \\\n", entry), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), name


@pytest.mark.parametrize("file", ["requirements.lock", "pyproject.toml", "Makefile", "docker/Dockerfile"])
def test_no_package_index_is_written_down(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not re.search(r"--(extra-)?index-url\s+\S*:|--find-links|--trusted-host|^-i\s", text, re.MULTILINE)
    if file == "requirements.lock":
        assert "://" not in text
        assert " @ " not in text
        assert not re.search(r"^-e|\bgit\+", text, re.MULTILINE)


def test_every_dependency_that_is_asked_for_is_locked() -> None:
    project = PYPROJECT["project"]
    asked = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {normal(re.match(r"[A-Za-z0-9._-]+", d)[0]) for d in asked}  # type: ignore[index]
    assert names - locked().keys() == set()


def test_nothing_of_a_forbidden_licence_is_locked() -> None:
    assert not {"gurux-dlms", "gurux-common", "gurux-net"} & locked().keys()


def test_every_import_of_the_program_is_asked_for() -> None:
    import sys
    from importlib.metadata import packages_distributions

    providers = packages_distributions()
    asked = {normal(re.match(r"[A-Za-z0-9._-]+", d)[0]) for d in PYPROJECT["project"]["dependencies"]}  # type: ignore[index]
    # parts of what is asked for, the extras `scale` (with its own dask) and `parquet`, the README's picture's browser
    given = asked | {"starlette", "psycopg-pool", "markupsafe", "distributed", "dask", "pyarrow", "playwright"}
    unasked: dict[str, str] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
                if name in sys.stdlib_module_names or name in PACKAGES or name not in providers:
                    continue
                if not {normal(provider) for provider in providers[name]} & given:
                    unasked[name] = str(path.relative_to(ROOT))
    assert unasked == {}


def test_data_files_are_packaged() -> None:
    """A file that is neither Python nor named as package data would be missing from an installation."""
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]
    known = {path for package, globs in patterns.items() for glob in globs for path in (ROOT / package).glob(glob)}
    read = {".sql", ".toml", ".json", ".html", ".js", ".css", ".svg", ".webmanifest"}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.suffix in read:
                assert path in known, path.relative_to(ROOT)


def command_of(service: dict[str, Any]) -> list[str]:
    command = service["command"]
    return shlex.split(command) if isinstance(command, str) else command


def parsed(words: list[str]) -> dict[str, Any]:
    """Parameters of a command line as the program itself parses it; fails as it would."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("headend", list(words), resilient_parsing=False)
    while hasattr(group, "commands"):
        name, group, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = group.make_context(name, list(rest), parent=context)
    return context.params | {"command": context.command_path}


def test_ports_are_published_on_the_loopback_address_only() -> None:
    published = [str(port) for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(published) == 2
    for port in published:
        assert port.startswith("127.0.0.1:"), port


def test_each_container_of_ours_runs_a_real_command() -> None:
    roles: list[str] = []
    for name, service in OURS.items():
        arguments = parsed(command_of(service))
        if name == "migrate":
            assert arguments["command"] == "headend migrate"
            continue
        assert arguments["command"] == "headend run"
        roles += arguments["roles"].split(",")
    assert sorted(roles) == sorted(ROLES), "every role runs in exactly one container"


def test_containers_start_after_the_schema_is_there() -> None:
    for name, service in OURS.items():
        waits = service["depends_on"]
        if name == "migrate":
            assert waits["database"]["condition"] == "service_healthy"
        else:
            assert waits["migrate"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_containers_environment_is_valid_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OURS[name]["environment"].items():
        if "${" not in value:
            monkeypatch.setenv(variable, value)
    settings = load_settings(None)
    assert (settings.mqtt.host, settings.mqtt.port) == ("127.0.0.1", 1883)
    assert "password" not in str(OURS[name]["environment"])


def test_secrets_that_are_used_are_declared() -> None:
    for service in COMPOSE["services"].values():
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        named = re.findall(r"/run/secrets/(\w+)", str(service))
        assert set(named) <= set(service.get("secrets", []))


def test_volumes_that_are_used_are_declared_or_files_that_exist() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / "docker" / source).is_file(), volume


def test_the_image_holds_what_its_file_copies() -> None:
    for line in (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), line


def mosquitto() -> dict[str, str]:
    lines = (ROOT / "docker" / "mosquitto.conf").read_text(encoding="utf-8")
    parser = configparser.ConfigParser(delimiters=(" ",), comment_prefixes=("#",), strict=True)
    parser.read_string("[m]\n" + lines)
    return dict(parser["m"])


def test_the_broker_keeps_what_it_has_acknowledged() -> None:
    conf = mosquitto()
    assert conf["persistence"] == "true"
    assert (conf["autosave_on_changes"], conf["autosave_interval"]) == ("false", "1")
    mounted = [v.split(":")[1] for v in COMPOSE["services"]["broker"]["volumes"] if v.startswith("broker:")]
    assert conf["persistence_location"].rstrip("/") == mounted[0]


def test_the_broker_drops_nothing_that_waits_for_us() -> None:
    conf = mosquitto()
    assert (conf["max_inflight_messages"], conf["max_queued_messages"]) == ("0", "0")
    kept_s = int(conf["persistent_client_expiration"].removesuffix("d")) * 86_400
    assert kept_s >= load_settings(ROOT / "config" / "headend.example.toml").mqtt.session_expiry_s


def commands_in(text: str) -> list[list[str]]:
    """`headend …` lines and inline mentions, without their comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [shlex.split(line, comments=True) for line in [*lines, *inline] if re.match(r"headend\s", line.strip())]


DOCUMENTS = [
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "config/import-template/README.md")
    if path.exists()
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_in_the_documents_is_real(path: Path) -> None:
    commands = commands_in(path.read_text(encoding="utf-8"))
    assert commands or path.name != "README.md" or path.parent != ROOT
    for words in commands:
        group: Any = typer.main.get_command(app)
        for word in words[1:]:
            choices = word.split("|")
            if not hasattr(group, "commands") or word.startswith("-"):
                break
            for choice in choices:
                assert choice in group.commands, f"{path.name}: {' '.join(words)}"
            group = group.commands[choices[0]]
        options = {option for parameter in group.params for option in parameter.opts}
        for word in words[1:]:
            if word.startswith("-"):
                assert word.partition("=")[0] in options, f"{path.name}: {' '.join(words)}"


def test_every_make_target_in_the_readme_is_there() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make (\w+)", readme, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_links_and_pictures_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / target).exists(), target
