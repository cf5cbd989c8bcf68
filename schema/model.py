"""The models that users may choose from."""

import strawberry

from agent.model import OfferedModels


@strawberry.type
class Model:
    name: str
    is_default: bool


def list_models(offered: OfferedModels) -> list[Model]:
    """All of them, the default first."""
    return [Model(name=name, is_default=name == offered.default) for name in offered.names]
