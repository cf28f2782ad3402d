import pytest

from plait.core.errors import RecipeError, SchemaError
from plait.core.mapping import read_mapping


def test_what_is_wrong_with_a_file_is_said(tmp_path) -> None:
    path = tmp_path / "recipe.yaml"
    for content, said in (
        (b"- a\n", "is no recipe: expected a mapping at the top, found list"),
        (b"a: [", "is not valid YAML"),
        (b"\xff\xfe\xfa", "not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(RecipeError, match=said):
            read_mapping(path, "recipe", RecipeError)
    with pytest.raises(SchemaError, match=r"There is no schema .*none.yaml"):
        read_mapping(tmp_path / "none.yaml", "schema", SchemaError)
    with pytest.raises(SchemaError, match="cannot be read"):
        read_mapping(tmp_path, "schema", SchemaError)
