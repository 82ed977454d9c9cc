"""A client with grpcio, the reference implementation of gRPC, for the tests of the gate.

grpcio_client.py ADDRESS CREDENTIAL: prints a line for each call, and reads its streams to their end.
"""

import sys
import threading

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

address, credential = sys.argv[1:]
channel = grpc.insecure_channel(address)
bearer = [("authorization", f"Bearer {credential}")]


def describe(error):
    """Code, reason, domain and retry delay of a failed call."""
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


def report(*words):
    print(*words, flush=True)


try:
    call("Unary", "unary_unary")(b"hello", timeout=10)
except grpc.RpcError as error:
    report("without", describe(error))

report("unary", call("Unary", "unary_unary")(b"hello", timeout=10, metadata=bearer).decode())
collected = call("Collect", "stream_unary")(iter([b"a", b"b"]), timeout=10, metadata=bearer)
report("collect", collected.decode())
chat = call("Chat", "stream_stream")(iter([b"a", b"b"]), timeout=10, metadata=bearer)
report("chat", *[message.decode() for message in chat])

try:
    call("Unary", "unary_unary")(b"slow", timeout=0.5, metadata=bearer)
except grpc.RpcError as error:
    report("deadline", error.code().name)

watch = call("Watch", "unary_stream")(b"", metadata=bearer)
next(watch)
watch.cancel()
try:
    list(watch)
except grpc.RpcError as error:
    report("cancelled", error.code().name)

# Three streams that stay open until the session ends.
done = threading.Event()


def one_message():
    yield b"a"
    done.wait()


streams = {
    "watch": call("Watch", "unary_stream")(b"", metadata=bearer),
    "chat": call("Chat", "stream_stream")(one_message(), metadata=bearer),
    "collect": call("Collect", "stream_unary").future(one_message(), metadata=bearer),
}
next(streams["watch"])
next(streams["chat"])
report("streams open")
for name, stream in streams.items():
    try:
        stream.result() if name == "collect" else list(stream)
    except grpc.RpcError as error:
        report("ended", name, describe(error))
done.set()
