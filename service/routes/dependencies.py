"""What routes ask for in their signature."""

from typing import Annotated

from fastapi import Depends, Request

from service.runtime import Runtime


def runtime_of(request: Request) -> Runtime:
    """The running service behind a request."""
    runtime = request.app.state.runtime
    assert isinstance(runtime, Runtime)
    return runtime


RuntimeDep = Annotated[Runtime, Depends(runtime_of)]
