"""What a handler raises, and what of the script cannot be imported."""

from tests.worker.differential.case import Case

__all__ = ["CASES"]


def _raises(name: str, *lines: str, before: str = "") -> Case:
    body = "\n".join(f"        {line}" for line in lines)
    script = (
        f"import json\nimport js\nfrom workers import Response, WorkerEntrypoint\n{before}\n\n"
        f"class Default(WorkerEntrypoint):\n    async def fetch(self, request):\n{body}\n    on_fetch = fetch\n"
    )
    return Case(name, script)


CASES = (
    _raises("a_value_error", "raise ValueError('boom')"),
    _raises("an_error_without_a_word", "raise RuntimeError"),
    _raises("an_error_of_ones_own", "raise Broken('mine')", before="class Broken(Exception): pass"),
    _raises("a_key_error", "return Response({}['a'])"),
    _raises("a_name_error", "return nope"),
    _raises("a_zero_division", "1 / 0"),
    _raises("an_attribute_of_none", "None.x"),
    _raises("a_failed_assertion", "assert 1 == 2, 'no'"),
    _raises(
        "an_error_of_another",
        "try:",
        "    1 / 0",
        "except ZeroDivisionError as error:",
        "    raise ValueError('second') from error",
    ),
    _raises("an_error_of_javascript", "js.JSON.parse('{nope')"),
    _raises("a_refused_body", "return Response({'a': 1})"),
    _raises("a_refused_call", "return Response()()"),
    _raises("an_unserializable_value", "return Response.json({1})"),
    _raises("bad_json", "return Response.json(await request.json())"),
    _raises("an_os_error", "raise OSError('disk')"),
    _raises("a_stop", "raise StopAsyncIteration"),
    _raises("an_error_of_a_model", "return await self.env.AI.run('@cf/none', js.JSON.parse('{\"prompt\": \"x\"}'))"),
    _raises("a_missing_binding", "return await self.env.NOPE.run()"),
    Case("an_import_of_nothing", "import nope_nope\n"),
    Case("an_import_from_src", "from src.helpers import x\n"),
    Case("an_import_of_a_missing_name", "from workers import Nope\n"),
    Case("an_import_of_a_missing_javascript_name", "from js import Nope\n"),
    Case("an_error_while_imported", "raise ValueError('at import')\n"),
    Case("a_syntax_error", "def f(:\n    pass\n"),
)
