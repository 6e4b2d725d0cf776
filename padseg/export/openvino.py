"""A network for OpenVINO: an .xml file with the graph and a .bin file with the weights."""

import tempfile
from pathlib import Path
from xml.etree import ElementTree

from padseg.errors import ConfigError
from padseg.export.onnx import make_model
from padseg.export.source import ExportSource
from padseg.modules.loading import DESCRIPTION_KEY


def make_files(source: ExportSource, out: Path) -> dict[Path, bytes]:
    """Two files, the weights first, so that the pair is complete once the .xml exists.

    Raises:
        ConfigError: `out` has the suffix of the weights.
    """
    if out.suffix == ".bin":
        raise ConfigError(
            f"--out {out}: the .bin file is for the weights; give the name of the .xml file."
        )
    source.require_own(out)
    import openvino

    model = openvino.Core().read_model(make_model(source))
    model.set_rt_info(source.described, [DESCRIPTION_KEY])
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "model.xml"
        openvino.save_model(model, xml, compress_to_fp16=False)
        tree = ElementTree.parse(xml)  # noqa: S314 - written just above
        for index, layer in enumerate(tree.iter("layer")):  # otherwise numbered by the process
            layer.set("name", f"{layer.get('type')}_{index}")
        return {
            out.with_suffix(".bin"): xml.with_suffix(".bin").read_bytes(),
            out: ElementTree.tostring(tree.getroot()),
        }
