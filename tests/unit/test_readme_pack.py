"""The pack in README.md is what it says: it loads, and rehearses as told."""

import re
from pathlib import Path

from sagabus.definitions.catalog import Catalog
from sagabus.rehearsal.reading import read_scripts
from sagabus.rehearsal.report import unmet
from sagabus.rehearsal.simulator import rehearse

_README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_pack_goes_as_printed(tmp_path: Path) -> None:
    workflow, outcomes = re.findall(r"```yaml\n(.*?)```", _README, flags=re.DOTALL)
    pack = tmp_path / "packs" / "shop"
    (pack / "workflows").mkdir(parents=True)
    (pack / "pack.yaml").write_text("ref: shop\n", encoding="utf-8")
    (pack / "workflows" / "roll_out.yaml").write_text(workflow, encoding="utf-8")
    main = tmp_path / "workflows.toml"
    main.write_text("", encoding="utf-8")
    script_file = tmp_path / "outcomes.yaml"
    script_file.write_text(outcomes, encoding="utf-8")

    catalog = Catalog.load(main)
    assert catalog.roles == {"shop", "cloud"}
    assert not catalog.warnings
    [script] = read_scripts(script_file)
    rehearsed = rehearse(catalog.get("shop.roll_out"), script, catalog.get)
    assert unmet(rehearsed, script.expect) == []
