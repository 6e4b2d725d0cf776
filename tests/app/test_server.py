"""How the window is opened, without opening it."""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from padseg.app import server
from padseg.cli import main


@pytest.fixture
def launched(monkeypatch):
    """Gradio's page, which ends as soon as it is asked to start; the options of its start."""
    options, folders = {}, []

    def launch(**given):
        options.update(given)
        folders.append(Path(os.environ["GRADIO_TEMP_DIR"]))
        assert folders[0].is_dir()
        signal.raise_signal(signal.SIGTERM)
        return None, "http://127.0.0.1:7860/", None

    page = SimpleNamespace(launch=launch, close=lambda verbose: options.update(closed=True))
    module = SimpleNamespace(build_page=lambda *_: page, THEME="theme")
    monkeypatch.setitem(sys.modules, "padseg.app.page", module)
    monkeypatch.setattr(server, "find_spec", lambda name: name == "gradio")
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("NO_PROXY", "intranet")
    monkeypatch.setenv("no_proxy", "")
    return options, folders


def test_it_stays_on_this_machine(checkpoint, launched, capsys):
    options, folders = launched
    assert main(["app", str(checkpoint), "--device", "cpu"]) == 0
    assert "Open http://127.0.0.1:7860/ in a browser" in capsys.readouterr().out
    assert (options["server_name"], options["server_port"]) == ("127.0.0.1", None)
    assert options["share"] is options["run_history"] is options["inbrowser"] is False
    assert options["footer_links"] == []
    assert options["closed"]
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert os.environ["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    assert os.environ["no_proxy"] == "127.0.0.1,localhost"
    assert not folders[0].exists()  # nor is a copy of the images


def test_a_host_without_an_address_is_told_at_once(checkpoint, launched, capsys):
    assert main(["app", str(checkpoint), "--device", "cpu", "--host", "no.host.invalid"]) == 2
    assert "--host no.host.invalid is not an address" in capsys.readouterr().err
    assert not launched[0]


def test_another_address_on_demand(checkpoint, launched):
    options, _ = launched
    more = ["--host", "0.0.0.0", "--port", "8000", "--open"]
    assert main(["app", str(checkpoint), "--device", "cpu", *more]) == 0
    assert (options["server_name"], options["server_port"]) == ("0.0.0.0", 8000)
    assert options["inbrowser"] is True


def test_a_port_in_use_is_told(checkpoint, launched, capsys, monkeypatch):
    def refuse(**_):
        raise OSError("Cannot find empty port in range: 80-80. You can set GRADIO_SERVER_PORT.")

    monkeypatch.setattr(sys.modules["padseg.app.page"].build_page(), "launch", refuse)
    assert main(["app", str(checkpoint), "--device", "cpu", "--port", "80"]) == 2
    told = capsys.readouterr().err
    assert "padseg cannot listen on 127.0.0.1, port 80: it is not an address" in told
    assert "GRADIO" not in told


@pytest.mark.parametrize("port", ["0", "65536"])
def test_a_port_that_there_is_not_is_told(port, checkpoint, launched, capsys):
    assert main(["app", str(checkpoint), "--device", "cpu", "--port", port]) == 2
    assert f"--port is {port}; it must be from 1 to 65535" in capsys.readouterr().err
    assert not launched[0]


def test_without_the_extra_it_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    assert main(["app", "any.ckpt"]) == 2
    told = capsys.readouterr().err
    assert told == (
        "padseg: error: padseg app needs Gradio: python -m pip install 'padseg[app]'.\n"
    )
