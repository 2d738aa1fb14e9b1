"""aiohttp, which reads the proxy from the environment only where it is told to."""

import asyncio

import aiohttp


async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.get("https://api.box.com/2.0/users/me") as answer:
            assert answer.status == 200, answer.status
            assert (await answer.json())["type"] == "user"
    print(aiohttp.__version__)


asyncio.run(main())
