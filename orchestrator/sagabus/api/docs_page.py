"""``/docs``: the OpenAPI document as one page that loads nothing from anywhere."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #8886 }
code { font: 14px ui-monospace, monospace }
b { display: inline-block; min-width: 3.2rem }
table { border-collapse: collapse; margin: .3rem 0 1rem }
td { padding: .1rem 1.2rem .1rem 0; vertical-align: top }
p { margin: .2rem 0 }
:root { color-scheme: light dark }
"""


def render(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])} API"
        f"</title><style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}"
        f"</h1><p>{escape(info.get('summary', ''))}. For programs: "
        f"<a href=openapi.json>openapi.json</a>.</p>{''.join(_operations(document))}"
        f"<h2>Documents</h2>{''.join(_schemas(document))}</html>"
    )


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    tag = None
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"][0] != tag:
                tag = operation["tags"][0]
                yield f"<h2>{escape(tag.capitalize())}</h2>"
            yield f"<h3><code><b>{method.upper()}</b> {escape(path)}</code></h3>"
            yield "".join(
                f"<p>{escape(part)}</p>" for part in operation["description"].split("\n\n")
            )
            yield f"<table>{''.join(_rows(operation))}</table>"


def _rows(operation: Mapping[str, Any]) -> Iterator[str]:
    for parameter in operation.get("parameters", ()):
        need = "required" if parameter.get("required") else "optional"
        kind = f"{parameter['in']}, {_type(parameter['schema'])}, {need}"
        yield _row(f"<code>{escape(parameter['name'])}</code>", kind)
    if "requestBody" in operation:
        yield _row("body", _content(operation["requestBody"]))
    for status, response in operation["responses"].items():
        yield _row(f"answer {status}", _content(response) or escape(response["description"]))


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        yield f"<h3 id='{escape(name)}'><code>{escape(name)}</code></h3>"
        yield f"<p>{escape(schema.get('description', ''))}</p><table>"
        if "enum" in schema:
            yield _row("one of", ", ".join(map(escape, schema["enum"])))
        for field, value in schema.get("properties", {}).items():
            yield _row(f"<code>{escape(field)}</code>", _type(value))
        yield "</table>"


def _content(part: Mapping[str, Any]) -> str:
    return ", ".join(
        _type(content["schema"]) if "schema" in content else escape(media)
        for media, content in part.get("content", {}).items()
    )


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(escape(str(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(schema.get("format") or schema.get("type") or "any")


def _row(left: str, right: str) -> str:
    return f"<tr><td>{left}<td>{right}"
