"""Where a command writes: whole or not at all, whatever happens on the way."""

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics
from red_middleware.__main__ import main
from red_middleware.exposition import Request, answer

from . import DEADLINE_SECONDS, Ran, command, environment, run

RULES = ("rules", "--job", "shop")

KILLED = """
import os, signal, sys
sys.addaudithook(lambda event, _: event == "os.rename" and os.kill(os.getpid(), signal.SIGKILL))
from red_middleware.__main__ import main
main()
"""
"""Runs a command and dies when its file is complete and about to take its place."""


@pytest.fixture
def metrics_file(tmp_path: Path) -> Path:
    """Return a file that `check` can read, and finds something in."""
    metrics = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)
    (tmp_path / "metrics").write_bytes(answer(metrics, Request()).body)
    return tmp_path / "metrics"


def names(directory: Path) -> list[str]:
    """Return what lies in a directory, but for what measures the tests."""
    return sorted(name for name in os.listdir(directory) if not name.startswith(".coverage"))


def test_a_file_has_what_stdout_would_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`-` is stdout, too. A file is the same wherever it lies, and readable as the umask has it."""
    assert main([*RULES]) == 0
    text = capsys.readouterr().out
    assert main([*RULES, "--output", "-"]) == 0
    assert capsys.readouterr().out == text
    for arguments in (["--output", str(tmp_path / "a")], [f"--output={tmp_path / 'b'}"]):
        assert main([*RULES, *arguments]) == 0
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == text
    mask = os.umask(0o077)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_a_file_that_is_replaced_keeps_its_mode_and_its_links(tmp_path: Path) -> None:
    """What a symbolic link leads to is replaced, and not the link."""
    (tmp_path / "old").write_text("old")
    (tmp_path / "old").chmod(0o640)
    (tmp_path / "link").symlink_to("old")
    assert main([*RULES, "--output", str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "old").read_text().startswith("# Made by: red-middleware rules --job shop\n")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o640


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel refuses what is beyond a limit, in the middle of the file, and nothing else stays."""
    (tmp_path / "rules.yml").write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        code = main([*RULES, "--output", str(tmp_path / "rules.yml")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (code, "rules.yml is not written: File too large" in capsys.readouterr().err) == (1, True)
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == {"rules.yml": "old"}


def test_a_command_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    """At the last moment, with all written beside it."""
    (tmp_path / "rules.yml").write_text("old")
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, *RULES, "--output", "rules.yml"],
        cwd=tmp_path, env=environment(), capture_output=True, timeout=DEADLINE_SECONDS, check=False,
    )  # fmt: skip
    assert ran.returncode == -signal.SIGKILL
    assert (tmp_path / "rules.yml").read_text() == "old"


def test_an_app_that_cannot_be_read_leaves_the_old_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written before all is known."""
    (tmp_path / "rules.yml").write_text("old")
    assert main([*RULES, "--app", "nowhere:app", "--output", str(tmp_path / "rules.yml")]) == 1
    assert (tmp_path / "rules.yml").read_text() == "old"
    assert names(tmp_path) == ["rules.yml"]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nowhere/rules.yml", "No such file or directory"),
        ("", "Is a directory"),
        ("new/", "new/' is not written: it names a directory, and not a file"),
        ("new/.", "new/.' is not written: it names a directory"),
        ("file/..", "file/..' is not written: it names a directory"),
        ("file/rules.yml", "Not a directory"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_said(
    place: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 1, and nothing is left in it."""
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "file").write_text("")
    assert main([*RULES, "--output", f"{inner}/{place}" if place else str(inner)]) == 1
    assert says in capsys.readouterr().err
    assert (names(tmp_path), names(inner)) == (["inner"], ["file"])


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    """A pipe that another program reads, such as `>(promtool check rules /dev/stdin)`, is not replaced."""
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE, text=True) as reader:
        assert main([*RULES, "--output", str(tmp_path / "pipe")]) == 0
        assert reader.stdout
        assert reader.stdout.read().startswith("# Made by")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_reader_that_has_seen_enough_makes_no_noise() -> None:
    """As `red-middleware rules ... | head -1` does. It has gone before the command begins, and so before it writes."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stdout:
        ran = subprocess.run(
            command(*RULES), env=environment(), stdout=stdout, stderr=subprocess.PIPE, text=True,
            timeout=DEADLINE_SECONDS, check=False,
        )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (1, "")


def in_shell(redirection: str, *arguments: str, cwd: Path | None = None) -> Ran:
    """Run a command with its streams redirected by a shell."""
    ran = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *command(*arguments)], cwd=cwd, env=environment(),
        capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
    )  # fmt: skip
    return Ran(ran.returncode, ran.stdout, ran.stderr)


NOISY = """
import atexit, os, subprocess, sys
from prometheus_client import CollectorRegistry
from red_middleware import RedMetrics
subprocess.run(["echo", "noise"])
os.write(1, b"more noise\\n")
atexit.register(print, "bye")
metrics = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)
"""
"""Prints by a child process, by the descriptor as C code does, and when the process ends."""


@pytest.mark.parametrize("redirection", ["", "2>&-"])
def test_what_an_app_prints_is_no_part_of_the_result(redirection: str, tmp_path: Path) -> None:
    """It goes to stderr, or nowhere where that is closed."""
    (tmp_path / "noisy.py").write_text(NOISY)
    ran = in_shell(redirection, *RULES, "--app", "noisy:metrics", cwd=tmp_path)
    plain = run(*RULES)
    assert (ran.code, ran.out.splitlines()[1:]) == (0, plain.out.splitlines()[1:])
    assert ran.err == ("" if redirection else "noise\nmore noise\nbye\n")


def test_without_stdout_a_file_is_written_all_the_same(tmp_path: Path, metrics_file: Path) -> None:
    """Without a file there is nowhere to write. `check` has its exit code to say what it found."""
    (tmp_path / "noisy.py").write_text(NOISY)
    ran = in_shell(">&-", *RULES, "--app", "noisy:metrics", "--output", "rules.yml", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert (tmp_path / "rules.yml").read_text().splitlines()[1:] == run(*RULES).out.splitlines()[1:]
    ran = in_shell(">&-", *RULES)
    assert ran == (1, "", "red-middleware rules: stdout is closed; --output FILE writes to a file\n")
    assert in_shell(">&-", "check", str(metrics_file)) == (1, "", "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (RULES, 1, "red-middleware rules: stdout"),
        (("rules", "--help"), 1, "red-middleware: stdout"),
        (("check", "{file}"), 2, "red-middleware check: stdout"),
        (("serve", "--name", "full", "--port", "0"), 1, "red-middleware serve: stdout"),
    ],
)
def test_a_full_stdout_is_said_in_a_line(arguments: tuple[str, ...], code: int, said: str, metrics_file: Path) -> None:
    """`check` has 1 for what it finds, so it ends with 2."""
    ran = in_shell(">/dev/full", *(each.format(file=metrics_file) for each in arguments))
    assert ran == (code, "", f"{said} is not written: No space left on device\n")


def test_a_stdout_that_takes_no_unicode_is_said_in_a_line(tmp_path: Path) -> None:
    """A file is UTF-8 whatever the locale says."""
    given = ("rules", "--job", "caf\u00e9")
    assert run(*given, PYTHONIOENCODING="ascii") == (
        1, "", "red-middleware rules: stdout is not written: it takes ascii only; --output FILE writes UTF-8\n"
    )  # fmt: skip
    assert run(*given, "--output", tmp_path / "rules.yml", PYTHONIOENCODING="ascii").code == 0
    assert 'job="caf\u00e9"' in (tmp_path / "rules.yml").read_text(encoding="utf-8")


def test_a_closed_stdin_is_said_in_a_line() -> None:
    assert in_shell("<&-", "check", "-") == (2, "", "red-middleware check: -: stdin is closed\n")


def test_without_pyyaml_it_is_said_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a line. A dashboard needs none, as JSON is Python's own."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert main([*RULES]) == 1
    assert capsys.readouterr().err == (
        "red-middleware rules: YAML needs PyYAML, which is not installed: python -m pip install pyyaml\n"
    )
    assert main(["dashboard", "--job", "shop"]) == 0


def test_yaml_is_read_as_it_was_meant() -> None:
    """No anchors for what comes twice, and texts of several lines as they are."""
    ran = run("alerts", "--job", "shop", "--slo-availability", "0.99", "--slo-seconds", "0.3,1")
    assert "&id" not in ran.out
    assert "expr: |" in ran.out
    assert ran.document()["groups"][0]["name"] == "red-shop-alerts"


@pytest.mark.parametrize("text", ["y", "N", "1e7", "1e-05", "0o17", "12e4567"])
def test_a_text_is_a_text_for_whoever_reads_the_yaml(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For kubectl knows more numbers than PyYAML, and truth values of one letter. It would refuse them as labels."""
    options = ("--format", "kubernetes", "--object-label", f"revision={text}")
    assert main([*RULES, *options]) == 0
    assert f"revision: '{text}'\n" in capsys.readouterr().out


@pytest.mark.usefixtures("heeded_interrupts")
def test_an_interrupt_ends_a_command_without_noise(tmp_path: Path) -> None:
    """While an app is imported that takes its time."""
    (tmp_path / "slow.py").write_text("import os, time\nprint('here', flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen(
        command(*RULES, "--app", "slow:app"), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as ran:
        assert ran.stderr
        assert ran.stderr.readline() == "here\n"
        ran.send_signal(signal.SIGINT)
        assert (ran.wait(DEADLINE_SECONDS), ran.stderr.read()) == (130, "")
