"""The JSON Schema of params.yaml, for editors."""

from typing import Any

from guidelab.spec.experiment import Experiment, Spec


def json_schema() -> dict[str, Any]:
    """The JSON Schema of params.yaml; entries that `extends` another may leave keys out."""
    schema = Spec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "guidelab params.yaml"
    partial = {"type": "object", "required": ["extends"], "properties": {"extends": {"type": "string"}}}
    full = {"$ref": f"#/$defs/{Experiment.__name__}"}
    found = schema["properties"]["experiments"]
    pattern = next(iter(found["patternProperties"]))
    found["patternProperties"][pattern] = {"anyOf": [full, partial]}
    return schema
