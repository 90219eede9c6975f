"""What routes ask for in their signature."""

from typing import Annotated

from fastapi import Depends, Request

from service.runtime import Runtime


def _runtime(request: Request) -> Runtime:
    runtime = request.app.state.runtime
    assert isinstance(runtime, Runtime)
    return runtime


RuntimeDep = Annotated[Runtime, Depends(_runtime)]
