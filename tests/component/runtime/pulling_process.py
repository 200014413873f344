"""A process that pulls one image until it is there: `python -m ... SOCKET NAME STALL`.

For tests that kill it. Prints `done` at the end.
"""

from __future__ import annotations

import asyncio
import sys

from edgeorch.agent import ports, registry_puller
from edgeorch.registry import pull
from edgeorch.runtime import client, pulling


async def main(socket: str, name: str, stall: str) -> None:
    containerd = client.Client(socket, "edgeorch")
    puller = registry_puller.RegistryPuller(
        pulling.PullSinks(containerd), limits=pull.Limits(stall_timeout=float(stall))
    )
    while True:
        try:
            await puller.pull(name, [], lambda _have, _all: None)
            break
        except ports.PullError as error:
            print(error, file=sys.stderr, flush=True)
            await asyncio.sleep(0.2)
    containerd.close()
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
