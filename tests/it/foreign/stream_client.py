"""A stock WebSocket client, Python `websockets`: prints every message; every line of standard input is sent.

The first line it prints is `open`, followed by the extensions that were agreed upon.

Arguments: the URL, the file of the server's certificate, and any headers as `Name: value`.
"""

import asyncio
import ssl
import sys

import websockets


async def main(url: str, certificate: str, headers: list[str]) -> None:
    context = ssl.create_default_context(cafile=certificate)
    extra = [tuple(header.split(": ", 1)) for header in headers]
    async with websockets.connect(url, ssl=context, additional_headers=extra, server_hostname="localhost") as socket:
        extensions = [extension.name for extension in socket.protocol.extensions]
        print("open", *extensions, flush=True)
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

        async def send() -> None:
            while line := await lines.readline():
                await socket.send(line.decode().rstrip("\n"))
            await socket.close()

        sender = asyncio.create_task(send())
        async for message in socket:
            print(message, flush=True)
        sender.cancel()
    print(f"closed {socket.close_code}", flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
