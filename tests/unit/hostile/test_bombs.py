"""Files that are made to take for ever, or all memory: each is answered within a second."""

import json
from pathlib import Path

import pytest

from sagabus.definitions.source_file import MAX_FILE_BYTES
from sagabus.errors import ConfigError, InvalidConfigError
from sagabus.rehearsal.reading import read_scripts
from tests.unit.hostile.judging import LIMIT_S, MAX_LINES, check_refusal, check_text, read, within

HEAD = '[[workflows]]\nname = "a"\n'
STAGE = '[[workflows.stages]]\nname = "s"\nagents = ["r"]\n'
PLAIN = HEAD + STAGE


def stages(*extra: str) -> str:
    return HEAD + "".join(
        f'[[workflows.stages]]\nname = "s{number}"\nagents = ["r"]\n{each}\n'
        for number, each in enumerate(extra)
    )


def listed(numbers: range) -> str:
    return "[" + ",".join(f'"s{number}"' for number in numbers) + "]"


def inputs(*texts: str) -> str:
    return f"{PLAIN}input = {{x = [{', '.join(json.dumps(text) for text in texts)}]}}\n"


def parameters(*declared: str) -> str:
    return (
        f"{HEAD}parameters = {{{', '.join(f'p{n} = {one}' for n, one in enumerate(declared))}}}\n"
        + STAGE
    )


DOUBLING = (
    '{default = {}, "$defs" = {'
    + "".join(
        f'd{n} = {{allOf = [{{"$ref" = "#/$defs/d{n + 1}"}}, {{"$ref" = "#/$defs/d{n + 1}"}}]}}, '
        for n in range(40)
    )
    + 'd40 = {}}, "$ref" = "#/$defs/d0"}'
)

REFUSED = {
    "deep lists": ("x = " + "[" * 100_000, "nested more than 64 deep"),
    "deep tables": ("x = " + "{a = " * 50_000, "nested more than 64 deep"),
    "lists just too deep": (f"{PLAIN}input = {{x = {'[' * 70}{']' * 70}}}", "w.toml:6: tables and"),
    "a key of many parts": ("a." * 100_000 + "b = 1", "w.toml:1: tables and lists are nested"),
    "many long headers": (
        "\n".join(f"[a{n}." + "b." * 60 + "c]" for n in range(4_000)),
        "more than 50000 keys",
    ),
    "many keys": ("\n".join(f"k{n}=1" for n in range(55_000)), "more than 50000 keys"),
    "many values": ("x = [" + "1," * 200_000 + "]", "more than 50000 keys"),
    "many tables": ("[[x]]\n" * 80_000, "more than 50000 keys"),
    "a number of many digits": ("\nx = " + "9" * 200_000, "w.toml:2: a number has too many digits"),
    "a long key": (PLAIN + "k" * 400_000 + " = 1", "unknown key `kkk"),
    "a long name": (PLAIN.replace('"s"', f'"{"y" * 200_000}"'), "is not a stage name"),
    "a long duration": (f'{PLAIN}timeout = "{"9" * 100_000}s"', "is not between"),
    "many stages": (stages(*[""] * 5_000), "5000 stages; engine.limits.max_stages allows 500"),
    "a limit without bounds": (
        "[engine.limits]\nmax_stages = 1000000\n" + PLAIN,
        "w.toml:2: `engine.limits.max_stages`: 1000000 is too large; at most 1000",
    ),
    "many stages of a block": (
        f'{HEAD}[[workflows.stages]]\nname = "b"\ntype = "parallel"\nstages = ['
        + ",".join(f'{{name = "s{n}", agents = ["r"]}}' for n in range(8_000))
        + "]",
        "8001 stages",
    ),
    "many targets": (stages("on_success = [" + '"s1",' * 40_000 + "]", ""), "has 40000 entries"),
    "many unknown targets": (
        stages("on_success = " + listed(range(1_000, 1_400)), *[""] * 400),
        'there is no stage "s1000"',
    ),
    "many unknown needs": (
        stages("needs = " + listed(range(1_000, 1_400)), *[""] * 400),
        'there is no stage "s1000"',
    ),
    "many routes": (stages("on_success = [" + '{do = "s1"},' * 20_000 + "]", ""), "has 20000 entr"),
    "many choices": (
        stages("decision = [" + '{when = true, next = "s1"},' * 9_000 + "]", ""),
        "has 9000 entries",
    ),
    "many publications": (f"{PLAIN}publish = [{'{x = 1},' * 20_000}]", "has 20000 entries"),
    "many unknown keys": (PLAIN + "\n".join(f"k{n} = 1" for n in range(30_000)), "unknown key"),
    "many expressions": (
        inputs(*(f"{{{{ {n} }}}}" for n in range(20_000))),
        "20,000 different expressions in one file; at most 2,000",
    ),
    "many words of expressions": (
        inputs(*(f"{{{{ [{n}, {'1,' * 1_480}] }}}}" for n in range(85))),
        "words and signs of expressions than can be read in one file; at most 40,000",
    ),
    "many wrong expressions": (inputs(*(f"{{{{ {n} + }}}}" for n in range(1_900))), "unexpected"),
    "many unknown names": (inputs(*(f"{{{{ foo{n} }}}}" for n in range(1_900))), "foo0"),
    "many parameters": (parameters(*['{type = "string"}'] * 12_000), "12,000 parameters in one f"),
    "many wrong parameters": (parameters(*['{typ = "string"}'] * 1_900), "is no keyword"),
    "many workflows": (
        "".join(PLAIN.replace('"a"', f'"a{n}"') for n in range(2_000)),
        "2000 workflows in one file; at most 1000",
    ),
    "many workflows of one name": (PLAIN * 999, "names are unique"),
    "many stages of one name": (HEAD + STAGE * 500, "names are unique"),
    "workflows in a long ring": (
        "".join(
            f'[[workflows]]\nname = "w{n}"\n[[workflows.stages]]\nname = "s"\n'
            f'action = "w{(n + 1) % 900}"\n'
            for n in range(900)
        ),
        "cannot contain itself",
    ),
    "a long chain of workflows": (
        "".join(
            f'[[workflows]]\nname = "w{n}"\n[[workflows.stages]]\nname = "s"\naction = "w{n + 1}"\n'
            for n in range(900)
        )
        + PLAIN.replace('"a"', '"w900"'),
        "levels of workflows; engine.limits.max_depth allows 8",
    ),
    "a schema that doubles": (
        parameters(DOUBLING),
        "takes more than 100,000 checks",
    ),
    "a schema without end": (parameters('{default = 1, "$ref" = "#"}'), "without end"),
    "a schema from elsewhere": (
        parameters('{"$ref" = "http://example.com/x"}'),
        "nothing is fetched",
    ),
    "a pattern of many brackets": (parameters(f"{{pattern = '{'(' * 5_000}'}}"), "nested too dee"),
    "a pattern that repeats": (parameters("{pattern = 'a{99999999999999}'}"), "too large"),
    "a long text for a pattern": (
        parameters(f"{{pattern = 'a.*b', default = '{'a' * 300_000}'}}"),
        "a text of 300,000 characters",
    ),
    "words and signs": (inputs("{{ [" + "1," * 10_000 + "] }}"), "more than 3,000 words"),
    "a long sum": (inputs("{{ " + "+".join("1" * 10_000) + " }}"), "more than 3,000 words"),
    "brackets": (inputs("{{ " + "(" * 20_000 + " }}"), "nested too deeply"),
    "a chain of filters": (inputs("{{ 1" + "|abs" * 100 + " }}"), "nested too deeply"),
    "loops in loops": (
        inputs("{% for a in [1] %}" * 30 + "{% endfor %}" * 30),
        "nested too deeply",
    ),
    "a repetition": (inputs("{{ 'x' * 10**9 ** 9 ** 9 "), "unexpected"),
    "digits": (inputs("{{ " + "9" * 60_000 + " }}"), "a number of more digits"),
    "large": ("#" * (MAX_FILE_BYTES + 1), f"larger than {MAX_FILE_BYTES} bytes"),
    "very large": (PLAIN + "#" * 100_000_000, f"larger than {MAX_FILE_BYTES} bytes"),
    "colours": (f'{PLAIN}"\\u001b[31m" = 1\n', "\\x1b[31m"),
    "letters from the right": (PLAIN.replace('"s"', '"\\u202es"'), "\\u202e"),
    "lines in a name": (PLAIN.replace('"a"', '"a\\n\\nError"'), "is not a workflow name"),
}

LOADED = {
    "many expressions": stages(
        *(f'input = {{x = "{{{{ parameters.a{n} + {n} }}}}"}}' for n in range(500))
    ),
    "every stage leads to many": stages(
        *(f"on_success = {listed(range(n + 1, min(n + 90, 500)))}" for n in range(499)), ""
    ),
    "every stage joins many": stages(
        *(
            f"on_success = {listed(range(n + 1, min(n + 90, 500)))}"
            + ('\njoin = "all"' if n > 1 else "")
            for n in range(499)
        ),
        "",
    ),
    "a ladder of decisions": stages(
        *(
            f'decision = [{{when = true, next = "s{n + 1}"}}, {{default = "s{n + 2}"}}]'
            for n in range(498)
        ),
        "",
        "",
    ),
    "every stage needs many": stages(
        *(f"needs = {listed(range(max(0, n - 90), n))}" if n > 1 else "" for n in range(500))
    ),
    "every stage again and again": stages(
        *(f"on_success = {listed(range(max(0, n - 45), min(n + 45, 500)))}" for n in range(500))
    ),
    "large patterns": parameters("{pattern = '((a{1,1000}){1,1000}){1,1000}', default = 'aaa'}"),
    "unique tables": parameters(
        f"{{type = 'array', uniqueItems = true, default = "
        f"[{', '.join(f'{{a = {n}}}' for n in range(10_000))}]}}"
    ),
    "a long description": f'{PLAIN}description = "{"x" * 400_000}"\n',
    "many labels": PLAIN.replace(
        STAGE, "labels = {" + ", ".join(f'k{n} = "v"' for n in range(20_000)) + "}\n" + STAGE
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bomb_is_refused_within_a_second(case: str, tmp_path: Path):
    text, said = REFUSED[case]
    path = tmp_path / "w.toml"
    path.write_text(text, encoding="utf-8")
    found = read(path)
    assert isinstance(found, InvalidConfigError)
    for line in str(found).split("\n"):
        check_text(line)
        assert len(line) < 3_000
    assert len(str(found).split("\n")) <= MAX_LINES
    assert said in str(found)


@pytest.mark.parametrize("case", LOADED)
def test_what_is_large_and_sound_is_loaded_in_time(case: str, tmp_path: Path):
    path = tmp_path / "w.toml"
    path.write_text(LOADED[case], encoding="utf-8")
    found = read(path, 2 * LIMIT_S)
    assert not isinstance(found, InvalidConfigError), str(found)[:500]


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml"])
def test_a_script_of_a_hundred_megabytes_is_refused(suffix: str, tmp_path: Path):
    path = tmp_path / f"outcomes{suffix}"
    path.write_bytes(b" " * 100_000_000)
    with pytest.raises(ConfigError, match="larger than"):
        within(LIMIT_S, lambda: read_scripts(path))


@pytest.mark.parametrize("where", ["included", "in a pack", "the pack itself"])
def test_what_is_large_elsewhere_is_refused_by_name(where: str, tmp_path: Path):
    main = tmp_path / "w.toml"
    pack = tmp_path / "packs" / "p"
    (pack / "workflows").mkdir(parents=True)
    (pack / "pack.yaml").write_text("ref: p\n")
    main.write_text('include = ["more.toml"]\n' + PLAIN)
    more = tmp_path / "more.toml"
    more.write_text("")
    large = {
        "included": more,
        "in a pack": pack / "workflows" / "w.yaml",
        "the pack itself": pack / "pack.yaml",
    }[where]
    large.write_bytes(b" " * 100_000_000)
    found = read(main)
    assert isinstance(found, InvalidConfigError)
    [problem] = found.problems
    assert problem.path == str(large)
    assert "larger than" in problem.message


def test_refusals_of_mutants_are_judged(tmp_path: Path):
    """The judge itself: it does not take what a terminal obeys, nor a problem without a place."""
    path = tmp_path / "w.toml"
    for error in (
        InvalidConfigError([]),
        InvalidConfigError([ConfigError("no line", path=path)]),
        InvalidConfigError([ConfigError("no path", line=1)]),
    ):
        with pytest.raises(AssertionError):
            check_refusal(error, path)
    with pytest.raises(AssertionError):
        check_text("\x1b[31m")
