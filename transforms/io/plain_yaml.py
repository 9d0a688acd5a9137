"""YAML that holds nothing but data: safe types, no aliases, no repeated keys."""

from __future__ import annotations

from typing import Any

import yaml


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML without aliases (a few lines of them can grow to gigabytes) and without repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is repeated", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load(text: str | bytes) -> Any:
    """What a YAML document says.

    Raises:
        yaml.YAMLError: it is not plain YAML; the message says where.
    """
    return yaml.load(text, _PlainLoader)  # noqa: S506  # a SafeLoader
