"""A control plane that nobody here wrote the messages of: Python `protobuf`, from contract.proto alone.

Prints every message of the dataplane as a line of JSON. Lines of standard input: `snapshot` pushes a plan whole, `device`
adds another device to it, `refer` sends a change that refers to nothing, `query` asks for the devices.

Arguments: the contract, the control socket, and what the plan is to hold, as JSON.
"""

import hashlib
import importlib
import json
import os
import socket
import struct
import sys
import tempfile
import threading

from google.protobuf import json_format
from grpc_tools import protoc

contract_file, socket_file, facts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

with tempfile.TemporaryDirectory() as made:
    folder, name = os.path.split(contract_file)
    if protoc.main(["protoc", f"-I{folder}", f"--python_out={made}", name]) != 0:
        sys.exit("the contract does not compile")
    sys.path.insert(0, made)
    contract = importlib.import_module("contract_pb2")

link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
link.connect(socket_file)
requests = 0


def say(**body) -> None:
    global requests
    requests += 1
    message = contract.ToDataplane(request=requests, **body).SerializeToString()
    link.sendall(struct.pack("<I", len(message)) + message)


def whole(count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = link.recv(count - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def listen() -> None:
    try:
        while True:
            (count,) = struct.unpack("<I", whole(4))
            message = contract.FromDataplane.FromString(whole(count))
            print(json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None), flush=True)
    except (EOFError, OSError):
        os._exit(0)


def device(fact: dict) -> "contract.Change":
    abp = contract.Abp(
        dev_addr=fact["dev_addr"],
        nwk_s_key=bytes.fromhex(fact["nwk_s_key"]),
        app_s_key=bytes.fromhex(fact["app_s_key"]),
    )
    of = contract.Device(dev_eui=fact["dev_eui"], tenant=1, application=2, profile=3, enabled=True, abp=abp)
    return contract.Change(device=of)


def plan() -> list:
    tap = contract.Stream(
        id=4,
        tenant=1,
        level=contract.APPLICATION,
        application=2,
        format="json",
        enabled=True,
        downlinks=True,
        token_hashes=[hashlib.sha256(facts["token"].encode()).digest()],
    )
    profile = contract.Profile(id=3, region=contract.EU868, mac_version=contract.LORAWAN_1_0_3)
    return [
        contract.Change(tenant=contract.Tenant(id=1, name="tenant")),
        contract.Change(application=contract.Application(id=2, tenant=1, name="application")),
        contract.Change(profile=profile),
        contract.Change(stream=tap),
        contract.Change(gateway=contract.Gateway(eui=facts["gateway"], tenant=1)),
        device(facts["devices"][0]),
    ]


threading.Thread(target=listen, daemon=True).start()
say(hello=contract.Hello(major=1, minor=0, software="control_plane.py", store=7))
for line in sys.stdin:
    command = line.strip()
    if command == "snapshot":
        say(snapshot_begin=contract.SnapshotBegin(revision=5, store=7))
        say(apply=contract.Apply(changes=plan()))
        say(snapshot_end=contract.SnapshotEnd(revision=5))
    elif command == "device":
        say(apply=contract.Apply(revision=6, changes=[device(facts["devices"][1])]))
    elif command == "refer":
        lost = contract.Application(id=9, tenant=8, name="of nobody")
        say(apply=contract.Apply(revision=7, changes=[contract.Change(application=lost)]))
    elif command == "query":
        say(query=contract.Query(devices=[fact["dev_eui"] for fact in facts["devices"]]))
    else:
        sys.exit(f"unknown: {command}")
