"""A client of Triton's, in a process of its own: its messages have the names of ours. Tells JSON.

usage: triton.py PORT WHAT [REQUEST...]; a request is JSON: inputs by name, and what else `infer` takes.
"""

import json
import queue
import sys
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

DATATYPES: dict[type, tuple[str, Any]] = {str: ("BYTES", np.object_), bool: ("BOOL", np.bool_)}


def asked(request: dict[str, Any]) -> dict[str, Any]:
    """What `infer` and `async_stream_infer` take."""
    inputs = []
    for name, value in request.pop("inputs").items():
        datatype, kind = DATATYPES[type(value)]
        tensor = grpc.InferInput(name, [1], datatype)
        tensor.set_data_from_numpy(
            np.array([value.encode() if isinstance(value, str) else value], dtype=kind)
        )
        inputs.append(tensor)
    outputs = [grpc.InferRequestedOutput(name) for name in request.pop("outputs", [])]
    return {"model_name": "toy", "inputs": inputs, "outputs": outputs or None} | request


def heard(result: Any) -> dict[str, Any]:
    response = result.get_response()
    outputs = {o.name: result.as_numpy(o.name).tolist() for o in response.outputs}
    return {
        "id": response.id,
        "last": response.parameters["triton_final_response"].bool_param,
        **{name: [e.decode() if isinstance(e, bytes) else e for e in each] for name, each in outputs.items()},
    }


def infer(client: Any, requests: list[dict[str, Any]]) -> Any:
    return [heard(client.infer(**asked(request))) for request in requests]


def stream(client: Any, requests: list[dict[str, Any]]) -> Any:
    """All at once; until each has its last response, or its error."""
    said: queue.Queue[dict[str, Any]] = queue.Queue()

    def hear(result: Any, error: Any) -> None:
        said.put({"error": error.message()} if error is not None else heard(result))

    client.start_stream(hear)
    for request in requests:
        client.async_stream_infer(**asked(request))
    everything, left = [], len(requests)
    while left:
        everything.append(said.get(timeout=20))
        left -= "error" in everything[-1] or everything[-1]["last"]
    client.stop_stream()
    return everything


def about(client: Any, requests: list[dict[str, Any]]) -> Any:
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [
            client.is_model_ready("toy"),
            client.is_model_ready("toy", "2"),
            client.is_model_ready("x"),
        ],
        "server": client.get_server_metadata(as_json=True),
        "model": client.get_model_metadata("toy", as_json=True),
    }


def protocol(client: Any, requests: list[dict[str, Any]]) -> Any:
    """Triton's own file, as a FileDescriptorProto in hexadecimal."""
    file = descriptor_pb2.FileDescriptorProto()
    grpc.service_pb2.DESCRIPTOR.CopyToProto(file)
    return file.SerializeToString().hex()


if __name__ == "__main__":
    _, port, what, *rest = sys.argv
    with grpc.InferenceServerClient(f"127.0.0.1:{port}") as found:
        try:
            answer = globals()[what](found, [json.loads(request) for request in rest])
        except InferenceServerException as failure:
            answer = {"status": failure.status(), "message": failure.message()}
    sys.stdout.write(json.dumps(answer))
