#!/usr/bin/python3
"""What a failed call raises, against a server that fails as it is told; and arguments that need no daemon."""

import concurrent.futures
import re
import unittest

import grpc
from google.protobuf import any_pb2

import sandboxd
import testing
from sandboxd import _requests, errors
from sandboxd.rpc import error_details_pb2, status_pb2
from sandboxd.v1 import error_pb2


class _Failing(grpc.GenericRpcHandler):
    """Fails every call with `code` and these details."""

    code, message, reason, violations = grpc.StatusCode.INTERNAL, "a sentence", "", ()

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(self._fail)

    def _fail(self, _, context):
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        if self.reason:
            info = error_details_pb2.ErrorInfo(reason=self.reason, domain="sandboxd", metadata={"sandbox_id": "box"})
            status.details.append(any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo",
                                              value=info.SerializeToString()))
        if self.violations:
            bad = error_details_pb2.BadRequest()
            for field, description in self.violations:
                bad.field_violations.add(field=field, description=description)
            status.details.append(any_pb2.Any(type_url="type.googleapis.com/google.rpc.BadRequest",
                                              value=bad.SerializeToString()))
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(self.code, self.message)


class ErrorTest(unittest.TestCase):
    def setUp(self):
        self.failing = _Failing()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), handlers=[self.failing])
        port = self.server.add_insecure_port("localhost:0")
        self.server.start()
        self.addCleanup(lambda: self.server.stop(None).wait())
        self.client = sandboxd.Client("localhost:%d" % port)
        self.addCleanup(self.client.close)

    def fail(self, code, reason="", **more):
        for name, value in {"code": code, "reason": reason, "violations": (), **more}.items():
            setattr(self.failing, name, value)
        with self.assertRaises(sandboxd.SandboxdError) as caught:
            self.client.get("box")
        return caught.exception

    def test_every_reason_has_a_class_of_its_own(self):
        # The code of each reason is written in error.proto; here only that ours agrees with itself.
        seen = set()
        for name in error_pb2.ErrorReason.keys():
            reason = name[len("ERROR_REASON_"):]
            if reason in ("UNSPECIFIED", "INTERNAL", "DEADLINE_EXCEEDED", "CANCELLED"):
                continue
            matching = {errors.class_for(code, reason) for code in grpc.StatusCode} - set(errors._BY_CODE.values())
            matching -= {sandboxd.SandboxdError}
            self.assertEqual(1, len(matching), reason)
            seen |= matching
        self.assertEqual(len(error_pb2.ErrorReason.keys()) - 4, len(seen))

    def test_the_whole_error_arrives(self):
        error = self.fail(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD",
                          violations=(("spec.a", "is wrong"), ("spec.b", "too")))
        self.assertIsInstance(error, errors.InvalidField)
        self.assertIsInstance(error, ValueError)
        self.assertEqual(("a sentence", "INVALID_FIELD", {"sandbox_id": "box"}),
                         (str(error), error.reason, error.metadata))
        self.assertEqual((("spec.a", "is wrong"), ("spec.b", "too")), error.field_violations)

    def test_what_is_not_built_is_a_not_implemented_error(self):
        error = self.fail(grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")
        self.assertIsInstance(error, NotImplementedError)
        self.assertIsInstance(error, sandboxd.Unimplemented)

    def test_a_reason_of_a_newer_daemon(self):
        error = self.fail(grpc.StatusCode.FAILED_PRECONDITION, "MOON_TOO_FULL")
        self.assertIs(sandboxd.FailedPrecondition, type(error))
        self.assertEqual("MOON_TOO_FULL", error.reason)

    def test_a_reason_under_another_code_keeps_the_code(self):
        self.assertIs(sandboxd.Aborted, type(self.fail(grpc.StatusCode.ABORTED, "WRONG_STATE")))

    def test_unavailable_from_the_daemon_is_not_tried_again(self):
        error = self.fail(grpc.StatusCode.UNAVAILABLE, "DAEMON_UNAVAILABLE")
        self.assertIsInstance(error, errors.DaemonUnavailable)
        self.assertEqual("a sentence", str(error))

    def test_codes(self):
        for code in (c for c in grpc.StatusCode if c not in (grpc.StatusCode.OK,)):
            error = self.fail(code, "SOMETHING")
            self.assertEqual(code, error.code)
            self.assertTrue(re.fullmatch(r"\w+", type(error).__name__))


class RequestTest(unittest.TestCase):
    def test_signals(self):
        for value in (15, "TERM", "SIGTERM", "term"):
            self.assertEqual(15, _requests.signal_number(value))
        with self.assertRaises(ValueError):
            _requests.signal_number("NOSUCH")

    def test_processes(self):
        spec = _requests.process_spec(["a"], env={"K": "v"}, user="www-data:adm", umask=0o27, rlimits={"nofile": 64})
        self.assertEqual((["K=v"], "www-data:adm", 0o27), (list(spec.env), spec.user.name, spec.user.umask))
        self.assertEqual(("RLIMIT_NOFILE", 64, 64), (spec.rlimits[0].type, spec.rlimits[0].soft, spec.rlimits[0].hard))
        self.assertFalse(_requests.process_spec(["a"]).HasField("user"))
        self.assertEqual((5, 6), (lambda u: (u.uid, u.gid))(_requests.process_spec(["a"], user=(5, 6)).user))

    def test_the_address(self):
        import os
        from unittest import mock
        with mock.patch.dict(os.environ, {"SANDBOXD_ADDRESS": "unix:///x"}):
            self.assertEqual(("unix:///x", "unix:///y"),
                             (_requests.address_or_default(None), _requests.address_or_default("unix:///y")))


if __name__ == "__main__":
    testing.main()
