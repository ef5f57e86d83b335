"""The examples in docs/workflow-language.md are what they say: they load, and rehearse as told."""

import re
from pathlib import Path

from sagabus.definitions.catalog import Catalog
from sagabus.rehearsal.reading import read_scripts
from sagabus.rehearsal.report import unmet
from sagabus.rehearsal.simulator import rehearse

_GUIDE = (Path(__file__).parents[2] / "docs" / "workflow-language.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", _GUIDE, flags=re.DOTALL)


def _catalog(directory: Path) -> Catalog:
    main = directory / "workflows.toml"
    main.write_text("\n".join(_blocks("toml")), encoding="utf-8")
    pack = directory / "packs" / "my_pack"
    (pack / "workflows").mkdir(parents=True)
    (pack / "pack.yaml").write_text("ref: my_pack\nlabel: Mine\n", encoding="utf-8")
    workflow, _ = _blocks("yaml")
    (pack / "workflows" / "release.yaml").write_text(workflow, encoding="utf-8")
    return Catalog.load(main)


def test_every_workflow_loads_as_printed(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path)
    assert set(catalog.definitions) == {"deploy", "resize", "my_pack.release"}
    assert catalog.roles == {"builder", "tester", "cloud", "notifier", "security"}


def test_the_rehearsal_goes_as_printed(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path)
    path = tmp_path / "outcomes.yaml"
    path.write_text(_blocks("yaml")[1], encoding="utf-8")
    [script] = read_scripts(path)
    script = script.model_copy(update={"parameters": {"service": "shop"}})
    rehearsed = rehearse(catalog.get("deploy"), script, catalog.get)
    assert unmet(rehearsed, script.expect) == []
    assert rehearsed.state.row.output == {"image": "shop:1", "regions": 1}
