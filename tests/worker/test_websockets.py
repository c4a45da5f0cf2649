"""WebSockets between a client and a script, between two scripts, and within one."""

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from tests.worker.conftest import Workers
from tests.worker.served import served

ECHO = """
    from js import Response, WebSocketPair
    from pyodide.ffi import create_proxy

    async def on_fetch(request, env, ctx):
        client, server = WebSocketPair.new().object_values()
        server.accept()
        server.binaryType = "arraybuffer"

        def hear(event):
            if event.data == "bye":
                server.close(4001, "as you like")
            else:
                server.send(event.data)

        server.addEventListener("message", create_proxy(hear))
        server.addEventListener("close", create_proxy(lambda event: print(event.code, event.reason, event.wasClean)))
        return Response.new(None, status=101, webSocket=client)
    """


async def test_what_the_client_sends_comes_back(worker: Workers) -> None:
    async with served(worker.app(ECHO)) as at, connect(f"ws://{at}/") as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await socket.send(b"\x00\xff")
        assert await socket.recv() == b"\x00\xff"
    assert any(line.startswith("[wrangler:info] GET / 101 Switching Protocols") for line in worker.logged)


async def test_the_script_closes_with_a_code_and_a_reason(worker: Workers) -> None:
    async with served(worker.app(ECHO)) as at, connect(f"ws://{at}/") as socket:
        await socket.send("bye")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (4001, "as you like")


async def test_the_script_hears_how_the_client_closes(worker: Workers, capsys: pytest.CaptureFixture[str]) -> None:
    async with served(worker.app(ECHO)) as at:
        async with connect(f"ws://{at}/") as socket:
            await socket.close(4002, "enough")
        async with connect(f"ws://{at}/") as socket:
            socket.transport.abort()
    assert capsys.readouterr().out.splitlines() == [
        "4002 enough True",
        "1006 WebSocket disconnected without sending Close frame. False",
    ]


async def test_a_hundred_messages_keep_their_order(worker: Workers) -> None:
    async with served(worker.app(ECHO)) as at, connect(f"ws://{at}/") as socket:
        for number in range(100):
            await socket.send(str(number))
        assert [await socket.recv() for _ in range(100)] == [str(number) for number in range(100)]


async def test_what_is_sent_before_the_upgrade_arrives_after_it(worker: Workers) -> None:
    app = worker.app("""
        from js import WebSocketPair
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                client, server = WebSocketPair.new().object_values()
                server.accept()
                server.send("welcome")
                server.close(1000, "that is all")
                return Response(None, status=101, web_socket=client, headers={"x-room": "7"})
        """)
    async with served(app) as at, connect(f"ws://{at}/") as socket:
        assert await socket.recv() == "welcome"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (1000, "that is all")
        assert socket.response is not None
        assert socket.response.headers["x-room"] == "7"


async def test_a_script_may_refuse_the_upgrade(worker: Workers) -> None:
    app = worker.app("""
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                assert request.url.startswith("http://") and request.headers.get("upgrade") == "websocket"
                return Response("Expected no WebSocket", status=426)
        """)
    async with served(app) as at:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{at}/")
    assert refused.value.response.status_code == 426
    assert refused.value.response.body == b"Expected no WebSocket"


async def test_a_websocket_needs_a_request_for_one(worker: Workers) -> None:
    response = await worker(ECHO).get("/")
    assert response.status == 500
    assert 'which did not contain the header "Upgrade: websocket".' in response.text


async def test_a_script_that_raises_refuses_the_upgrade(worker: Workers) -> None:
    app = worker.app("async def on_fetch(request): raise ValueError('boom')")
    async with served(app) as at:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{at}/")
    assert refused.value.response.status_code == 500
    assert "ValueError: boom" in worker.reported[0]


async def test_an_async_listener_may_ask_the_model(worker: Workers) -> None:
    worker.fake.answers["@cf/meta/llama-2-7b-chat-int8"] = "New York"
    app = worker.app("""
        from js import WebSocketPair
        from pyodide.ffi import create_proxy
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                client, server = WebSocketPair.new().object_values()
                server.accept()

                async def answer(event):
                    result = await self.env.AI.run("@cf/meta/llama-2-7b-chat-int8", prompt=event.data)
                    server.send(result.response)

                server.addEventListener("message", create_proxy(answer))
                return Response(None, status=101, web_socket=client)
        """)
    async with served(app) as at, connect(f"ws://{at}/") as socket:
        await socket.send("where is new york?")
        assert await socket.recv() == "New York"


async def test_what_a_listener_raises_is_reported_and_the_next_message_arrives(worker: Workers) -> None:
    app = worker.app("""
        from js import WebSocketPair
        from pyodide.ffi import create_proxy
        from workers import Response

        async def on_fetch(request):
            client, server = WebSocketPair.new().object_values()
            server.accept()
            server.addEventListener("message", create_proxy(lambda event: server.send(str(10 // int(event.data)))))
            return Response(None, status=101, web_socket=client)
        """)
    async with served(app) as at, connect(f"ws://{at}/") as socket:
        await socket.send("0")
        await socket.send("5")
        assert await socket.recv() == "2"
    assert "ZeroDivisionError" in worker.reported[0]


async def test_ending_the_process_closes_its_sockets(worker: Workers) -> None:
    app = worker.app(ECHO)
    async with served(app) as at, connect(f"ws://{at}/") as socket:
        await socket.send("hello")
        await socket.recv()
        await app.end_streams()
        with pytest.raises(ConnectionClosedError):
            await socket.recv()
        assert socket.close_code == 1012


CLIENT = """
    import asyncio
    from js import WebSocket
    from pyodide.ffi import create_proxy
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            heard, done = [], asyncio.Event()
            socket = WebSocket.new(self.env.SERVER, ["chat"])
            heard.append(socket.readyState)

            def opened(event):
                heard.append("open")
                socket.send("hi")

            def hear(event):
                heard.append(event.data)
                socket.close(4003, "done")

            def closed(event):
                heard.extend([event.code, event.reason, event.wasClean, socket.readyState])
                done.set()

            socket.addEventListener("open", create_proxy(opened))
            socket.addEventListener("message", create_proxy(hear))
            socket.addEventListener("error", create_proxy(lambda event: heard.append(event.message[:40])))
            socket.addEventListener("close", create_proxy(closed))
            await asyncio.wait_for(done.wait(), 60)
            return Response.json(heard)
    """


async def test_a_script_connects_to_a_server(worker: Workers) -> None:
    from websockets.asyncio.server import serve

    async def echo(socket: Any) -> None:
        async for message in socket:
            await socket.send(f"you said {message}")

    async with serve(echo, "127.0.0.1", 0, subprotocols=["chat"]) as server:  # type: ignore[list-item]
        port = next(iter(server.sockets)).getsockname()[1]
        response = await worker(CLIENT, vars={"SERVER": f"ws://127.0.0.1:{port}/"}).get("/")
    assert response.text == '[0, "open", "you said hi", 4003, "done", true, 3]'


async def test_a_server_that_is_not_there_is_an_error_event(worker: Workers) -> None:
    response = await worker(CLIENT, vars={"SERVER": "ws://127.0.0.1:1/"}).get("/")
    assert response.text.startswith('[0, "Error: Network connection lost')
    assert response.text.endswith('1006, "Failed to establish websocket connection", false, 3]')


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://a/", "WebSocket Constructor: The url scheme must be ws or wss."),
        ("ws://a/#b", "WebSocket Constructor: The url fragment must be empty."),
        ("nowhere", "WebSocket Constructor: The url is invalid."),
    ],
)
async def test_a_bad_url(worker: Workers, url: str, problem: str) -> None:
    response = await worker(CLIENT, vars={"SERVER": url}).get("/")
    assert response.status == 500
    assert f"SyntaxError: {problem}" in response.text


async def test_both_ends_in_one_script(worker: Workers) -> None:
    response = await worker("""
        import asyncio
        from js import WebSocketPair
        from pyodide.ffi import create_proxy
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                heard, done = [], asyncio.Event()
                one, two = WebSocketPair.new().object_values()
                try:
                    one.send("too early")
                except TypeError as error:
                    heard.append(str(error))
                one.accept()
                two.accept(allowHalfOpen=True)
                two.onmessage = lambda event: heard.append(event.data)

                def closing(event):
                    heard.append([event.code, two.readyState])
                    two.send("last words")
                    two.close(1000, "bye")

                two.addEventListener("close", create_proxy(closing))
                one.onmessage = lambda event: heard.append(event.data)
                one.onclose = lambda event: (heard.append([event.reason, one.readyState]), done.set())
                one.send("first")
                one.close(3000)
                try:
                    one.send("too late")
                except TypeError as error:
                    heard.append(str(error))
                await done.wait()
                return Response.json(heard)
        """).get("/")
    assert response.text == (
        '["TypeError: You must call one of accept() or state.acceptWebSocket() on this WebSocket before sending '
        'messages.", "TypeError: Can\'t call WebSocket send() after close().", "first", [3000, 2], "last words", '
        '["bye", 3]]'
    )


@pytest.mark.parametrize(
    ("close", "problem"),
    [
        ("close(999)", "InvalidAccessError: Invalid WebSocket close code: 999."),
        ("close(1005)", "InvalidAccessError: Invalid WebSocket close code: 1005."),
        ("close(1000, 'a' * 124)", "SyntaxError: WebSocket close reason must not be longer than 123 bytes"),
    ],
)
async def test_a_bad_close(worker: Workers, close: str, problem: str) -> None:
    response = await worker(f"""
        from js import WebSocketPair

        async def on_fetch(request):
            one, two = WebSocketPair.new().object_values()
            one.accept()
            one.{close}
        """).get("/")
    assert problem in response.text


async def test_an_accepted_end_cannot_be_given_away(worker: Workers) -> None:
    app = worker.app("""
        from js import Response, WebSocketPair

        async def on_fetch(request):
            client, server = WebSocketPair.new().object_values()
            client.accept()
            return Response.new(None, status=101, webSocket=client)
        """)
    async with served(app) as at:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{at}/")
    assert refused.value.response.status_code == 500
    assert "Can't return WebSocket in a Response after calling accept()." in worker.reported[0]


async def test_a_server_that_floods_waits_for_the_script(worker: Workers) -> None:
    """The client sends as fast as the script takes it; what waits in between is bounded."""
    app = worker.app("""
        import asyncio
        from js import WebSocketPair
        from pyodide.ffi import create_proxy
        from workers import Response

        async def on_fetch(request):
            client, server = WebSocketPair.new().object_values()
            total = 0
            server.accept()

            def hear(event):
                nonlocal total
                total += len(event.data)
                if total == 400 * 65536:
                    server.send(str(total))

            server.addEventListener("message", create_proxy(hear))
            return Response(None, status=101, web_socket=client)
        """)
    async with served(app) as at, connect(f"ws://{at}/", compression=None) as socket:
        for _ in range(400):
            await socket.send("a" * 65536)
        assert await asyncio.wait_for(socket.recv(), 60) == str(400 * 65536)
