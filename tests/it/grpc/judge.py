"""What a gRPC client in another language makes of the gate: grpcio, the reference implementation.

judge.py ADDRESS CREDENTIAL: prints one line for each call, and waits on its streams until they end.
"""

import sys
import threading

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

address, credential = sys.argv[1:]
channel = grpc.insecure_channel(address)
bearer = [("authorization", f"Bearer {credential}")]


def said(error):
    """Code, reason and domain of a failed call; when to retry."""
    status = rpc_status.from_call(error)
    words = [error.code().name]
    for detail in status.details if status else []:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            words += [info.reason, info.domain, info.metadata["denial"]]
        if detail.Unpack(retry):
            words.append(f"retry {retry.retry_delay.seconds}")
    return " ".join(words)


def call(name, kind):
    return getattr(channel, kind)(f"/echo.Echo/{name}")


def tell(*words):
    print(*words, flush=True)


try:
    call("Unary", "unary_unary")(b"hello", timeout=10)
except grpc.RpcError as error:
    tell("without", said(error))

tell("unary", call("Unary", "unary_unary")(b"hello", timeout=10, metadata=bearer).decode())
collected = call("Collect", "stream_unary")(iter([b"a", b"b"]), timeout=10, metadata=bearer)
tell("collect", collected.decode())
chat = call("Chat", "stream_stream")(iter([b"a", b"b"]), timeout=10, metadata=bearer)
tell("chat", *[message.decode() for message in chat])

try:
    call("Unary", "unary_unary")(b"slow", timeout=0.5, metadata=bearer)
except grpc.RpcError as error:
    tell("deadline", error.code().name)

watch = call("Watch", "unary_stream")(b"", metadata=bearer)
next(watch)
watch.cancel()
try:
    list(watch)
except grpc.RpcError as error:
    tell("cancelled", error.code().name)

# Three that stay on the line until the session ends.
silence = threading.Event()


def line():
    yield b"a"
    silence.wait()


streams = {
    "watch": call("Watch", "unary_stream")(b"", metadata=bearer),
    "chat": call("Chat", "stream_stream")(line(), metadata=bearer),
    "collect": call("Collect", "stream_unary").future(line(), metadata=bearer),
}
next(streams["watch"])
next(streams["chat"])
tell("on the line")
for name, stream in streams.items():
    try:
        stream.result() if name == "collect" else list(stream)
    except grpc.RpcError as error:
        tell("ended", name, said(error))
silence.set()
