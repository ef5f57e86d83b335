"""Registered workflows beside those in files: what wins, what is refused, and what it breaks."""

import json
from pathlib import Path

import pytest

from sagabus.definitions.holder import CatalogHolder
from sagabus.definitions.registered import RegisteredSource, with_settings
from sagabus.errors import InvalidConfigError

CALLER = '[[workflows]]\nname = "{}"\n[[workflows.stages]]\nname = "one"\naction = "{}"\n'


def document(name: str, action: str = "web.get", **keys: object) -> RegisteredSource:
    """A document with one task."""
    text = f"ref: {name}\ntasks: [{{name: one, action: {action}}}]\n"
    return RegisteredSource(text + "".join(f"{key}: {value}\n" for key, value in keys.items()))


@pytest.fixture
def holder(tmp_path: Path) -> CatalogHolder:
    (tmp_path / "packs/p").mkdir(parents=True)
    (tmp_path / "packs/p/pack.yaml").write_text("ref: p")
    (tmp_path / "packs/p/config.yaml").write_text("values: {a: 1}")
    (tmp_path / "w.toml").write_text(CALLER.format("in_file", "web.get"))
    return CatalogHolder(tmp_path / "w.toml")


def rewrite(holder: CatalogHolder, text: str) -> bool:
    holder.current.path.write_text(text)
    return holder.reload()


def test_what_is_registered_is_in_force_beside_the_files(holder: CatalogHolder):
    assert not holder.register([document("p.flow"), document("plain")])
    catalog = holder.current
    assert set(catalog.definitions) == {"in_file", "p.flow", "plain"}
    assert catalog.get("p.flow").pack_config == {"a": 1}
    assert catalog.packs["p"].workflows == ("p.flow",)
    assert [one.name for one in catalog.actions() if one.is_workflow] == [
        "in_file", "p.flow", "plain",
    ]  # fmt: skip
    assert catalog.places == {"in_file": f"{catalog.path}:2"}
    holder.register([])
    assert set(holder.current.definitions) == {"in_file"}


def test_settings_beside_a_document_are_those_of_its_pack_and_files_win(holder: CatalogHolder):
    text = with_settings(document("p.flow").text.rstrip(), {"a": 2, "b": "1e3", "c": [None]})
    [refused] = [*holder.register([RegisteredSource(text), document("q.flow", values="{}")])]
    assert holder.current.get("p.flow").pack_config == {"a": 1, "b": "1e3", "c": [None]}
    assert refused.name == "q.flow", "a workflow has no key `values`"
    shape = document("q.flow").text + "---\nschema: {n: {type: integer}}\nvalues: {n: x}\n"
    [refused] = [*holder.register([RegisteredSource(shape, known_as="q.flow")])]
    assert [str(one) for one in refused.problems] == [
        "document:5: `values.n`: 'x' does not fit; write a whole number"
    ]


def test_a_reload_of_the_files_keeps_what_is_registered(holder: CatalogHolder):
    holder.register([document("p.flow")])
    assert rewrite(holder, CALLER.format("other", "p.flow"))
    assert set(holder.current.definitions) == {"other", "p.flow"}
    assert holder.current.get("other").stages["one"].workflow == "p.flow"


def test_a_file_wins_and_what_it_hid_is_back_when_it_is_gone(holder: CatalogHolder):
    assert rewrite(holder, CALLER.format("p.flow", "web.get"))
    assert not holder.register([document("p.flow", "ftp.get")])
    assert holder.current.get("p.flow").stages["one"].roles == ("web",)
    assert holder.current.packs["p"].workflows == (), "the one in force is not registered"
    assert rewrite(holder, "")
    assert holder.current.get("p.flow").stages["one"].roles == ("ftp",)
    assert holder.current.packs["p"].workflows == ("p.flow",)


def test_registering_reads_no_file_so_that_a_bad_one_is_in_nobodys_way(holder: CatalogHolder):
    assert not rewrite(holder, "[")
    holder.register([document("p.flow")])
    assert set(holder.current.definitions) == {"in_file", "p.flow"}
    assert holder.last_error is not None


def test_a_registered_document_that_is_wrong_is_left_out_with_the_reason(holder: CatalogHolder):
    bad = RegisteredSource("ref: p.bad\ntasks: []", origin="p.bad version 3")
    broken = RegisteredSource("a: [", origin="broken", known_as="p.broken")
    [second, first] = holder.register([bad, document("p.flow"), broken])
    assert set(holder.current.definitions) == {"in_file", "p.flow"}
    assert (first.document, first.name) == (bad, "p.bad")
    assert str(first.problems[0]).startswith(
        'p.bad version 3:2: workflow "p.bad": `tasks`: is empty'
    )
    assert (second.document, second.name) == (broken, "p.broken")


def test_what_calls_a_workflow_that_is_left_out_is_left_out_and_not_sent_to_agents(
    holder: CatalogHolder,
):
    bad = RegisteredSource("ref: p.bad\ntasks: []", origin="bad")
    found = holder.register([document("p.two", "p.one"), document("p.one", "p.bad"), bad])
    assert {one.name for one in found} == {"p.bad", "p.one", "p.two"}
    assert set(holder.current.definitions) == {"in_file"}
    assert 'the registered workflow "p.bad" cannot be in force' in str(found[1].problems[0])


def test_nothing_changes_when_a_file_calls_what_would_be_left_out(holder: CatalogHolder):
    holder.register([document("p.flow")])
    rewrite(holder, CALLER.format("in_file", "p.flow"))
    before = holder.current
    with pytest.raises(InvalidConfigError, match=r'the registered workflow "p.flow" cannot be in'):
        holder.register([document("p.flow", nonsense=1)])
    assert holder.current is before
    assert holder.reload(), "and what was registered before is still what counts"


def test_a_change_of_files_that_breaks_what_is_registered_leaves_it_out(holder: CatalogHolder):
    takes = "parameters = {{ {} = {{ type = 'integer' }} }}\n[[workflows.stages]]"
    text = CALLER.format("in_file", "web.get")
    assert rewrite(holder, text.replace("[[workflows.stages]]", takes.format("n")))
    caller = "ref: p.flow\ntasks: [{name: one, action: in_file, input: {n: 1}}]"
    assert not holder.register([RegisteredSource(caller)])
    assert rewrite(holder, text.replace("[[workflows.stages]]", takes.format("m")))
    [refused] = holder.current.refused
    assert "parameter `n` is unknown" in str(refused.problems[0])
    assert set(holder.current.definitions) == {"in_file"}
    assert rewrite(holder, text), "whatever is registered, files are put in force"
    assert set(holder.current.definitions) == {"in_file", "p.flow"}


def test_two_documents_of_one_name_are_one_too_many(holder: CatalogHolder):
    [refused] = holder.register([document("p.flow"), document("p.flow", "ftp.get")])
    assert "registered twice" in str(refused.problems[0])
    assert holder.current.get("p.flow").stages["one"].roles == ("web",)


# --- checking -----------------------------------------------------------------------------------


def test_documents_are_checked_together_and_nothing_changes(holder: CatalogHolder):
    before = holder.current
    checked = holder.check([document("p.two", "p.one"), document("p.one")])
    assert [one.name for one in checked.definitions] == ["p.two", "p.one"]
    assert checked.definitions[0].stages["one"].workflow == "p.one"
    assert holder.current is before


def test_everything_that_is_wrong_with_a_document_is_told(holder: CatalogHolder):
    text = (
        "ref: p.flow\ntasks:\n  - name: a\n    action: web.get\n    timout: 1\n    on_success: b\n"
    )
    checked = holder.check([RegisteredSource(text, origin="x.yaml")])
    assert checked.definitions == ()
    assert [str(one) for one in checked.problems] == [
        'x.yaml:5: workflow "p.flow", task "a": unknown key `timout`; did you mean "timeout"?',
        'x.yaml:6: workflow "p.flow", task "a": `on_success`: there is no stage "b"; there are '
        '"a", end and fail',
    ]
    checked = holder.check([RegisteredSource(text.replace("timout", "timeout"), origin="./x.yaml")])
    assert [one.line for one in checked.problems] == [6]


def test_a_new_version_that_does_not_fit_its_callers_is_a_problem(holder: CatalogHolder):
    flow = "ref: p.flow\nparameters: {n: {type: integer}}\ntasks: [{name: one, action: web.get}]\n"
    caller = "ref: q.caller\ntasks: [{name: one, action: p.flow, input: {n: 1}}]\n"
    holder.register([RegisteredSource(flow), RegisteredSource(caller, origin="caller")])
    checked = holder.check([RegisteredSource(flow.replace("integer", "string"))])
    [problem] = checked.problems
    assert str(problem).startswith('caller:2: workflow "q.caller", task "one": `input.n`')


def test_a_circle_of_calls_is_seen_before_anything_is_stored(holder: CatalogHolder):
    holder.register([document("p.one", "p.two"), document("p.two")])
    checked = holder.check([document("p.two", "p.one")])
    assert any("cannot contain itself" in str(one) for one in checked.problems)


def test_a_document_whose_name_a_file_has_is_checked_all_the_same(holder: CatalogHolder):
    checked = holder.check([document("in_file", "ftp.get")])
    assert [one.name for one in checked.definitions] == ["in_file"]
    assert holder.check([document("in_file", nonsense=1)]).problems


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_is_read_like_yaml_with_its_lines(holder: CatalogHolder, indent: str | int | None):
    task = {"name": "one", "action": "web.get", "input": {"a/b": '\u20ac \U0001f600 \\ "'}}
    text = json.dumps({"ref": "p.flow", "tasks": [task]}, indent=indent)
    [definition] = holder.check([RegisteredSource(text, "json")]).definitions
    assert definition.document["workflow"]["stages"][0]["input"] == task["input"]
    [problem] = holder.check([RegisteredSource(text.replace("action", "acton"), "json")]).problems
    assert "unknown key `acton`" in str(problem)


@pytest.mark.parametrize(
    ("text", "format_", "said"),
    [
        ("", "yaml", "document: one workflow belongs here, and there are none"),
        ("a: 1\n---\nb: 1", "yaml", "document: one workflow belongs here, and there are 2"),
        ("[1]", "yaml", "document: a workflow is a table: name, tasks, ..."),
        ('{"a": 1,}', "json", "document:1: not valid JSON: "),
        ('{"a": NaN}', "json", "document: not valid JSON: NaN is not a number that JSON has"),
        ('{"a": 1, "a": 2}', "json", "document:1: `a` is written twice in one table"),
        ("[" * 100_000, "json", "document: tables and lists are nested too deeply"),
        ("name: a", "json", "document:1: not valid JSON: "),
    ],
)
def test_a_document_that_is_none_is_refused(
    holder: CatalogHolder, text: str, format_: str, said: str
):
    [problem] = holder.check([RegisteredSource(text, format_)]).problems  # type: ignore[arg-type]
    assert str(problem).startswith(said)
