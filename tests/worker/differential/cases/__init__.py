"""The scripts, by what they are about."""

from tests.worker.differential.case import Case
from tests.worker.differential.cases import (
    bodies,
    entrypoints,
    errors,
    forms,
    headers,
    javascript,
    legacy,
    models,
    proxies,
    requests,
    responses,
    rpc,
    streams,
    urls,
)

__all__ = ["CASES"]

CASES: tuple[Case, ...] = (
    *requests.CASES,
    *responses.CASES,
    *bodies.CASES,
    *headers.CASES,
    *urls.CASES,
    *forms.CASES,
    *entrypoints.CASES,
    *errors.CASES,
    *javascript.CASES,
    *legacy.CASES,
    *proxies.CASES,
    *models.CASES,
    *rpc.CASES,
    *streams.CASES,
)
