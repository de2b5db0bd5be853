"""scripts/get_cifar100.sh against a small archive on a server of this test's own, on loopback."""

import hashlib
import http.server
import io
import os
import pathlib
import re
import subprocess
import tarfile
import tempfile
import threading
import unittest

ROOT = pathlib.Path(os.environ.get("EKD_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
SCRIPT = ROOT / "scripts" / "get_cifar100.sh"
RECORD = 3074


def make_archive(train=bytes(2 * RECORD), test=bytes(RECORD), folder="cifar-100-binary", names=True):
    files = {"train.bin": train, "test.bin": test}
    if names:
        files |= {"fine_label_names.txt": b"apple\n", "coarse_label_names.txt": b"fruit\n"}
    buffer = io.BytesIO()
    # Random bytes beside the data do not compress: the archive is long enough to break off in the middle.
    files["noise"] = os.urandom(100_000)
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.archive; with server.ranges also from the middle; breaks off after server.break_after bytes, once."""

    def do_GET(self):
        archive, start = self.server.archive, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.server.requests.append(self.headers.get("Range"))
        if asked and self.server.ranges:
            start = int(asked.group(1))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(archive) - 1}/{len(archive)}")
        else:
            self.send_response(200)
        body = archive[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.break_after = self.server.break_after, None
        self.wfile.write(body[:cut])

    def log_message(self, *_):
        pass


class GetCifar100(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.dest = self.folder / "data" / "cifar-100-binary"
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.archive = make_archive()
        self.server.ranges, self.server.break_after, self.server.requests = True, None, []
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def get(self, *arguments, archive=None, **variables):
        archive = archive or self.server.archive
        environment = os.environ | {
            "CIFAR100_URL": f"http://127.0.0.1:{self.server.server_port}/cifar.tar.gz",
            "CIFAR100_BYTES": str(len(archive)),
            "CIFAR100_MD5": hashlib.md5(archive).hexdigest(),
            "no_proxy": "127.0.0.1",
        } | variables
        return subprocess.run(["bash", SCRIPT, "--dest", self.dest, *arguments], env=environment, cwd=self.folder,
                              capture_output=True, text=True, timeout=60)

    def assert_ready(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.dest / "train.bin").read_bytes(), bytes(2 * RECORD))
        self.assertEqual((self.dest / "test.bin").read_bytes(), bytes(RECORD))
        self.assertEqual((self.dest / "fine_label_names.txt").read_text(), "apple\n")
        self.assert_tidy()

    def assert_refused(self, done, *words):
        self.assertNotEqual(done.returncode, 0)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertFalse(self.dest.exists())
        self.assert_tidy()

    def assert_tidy(self, part=False):
        left = [p.name for p in self.dest.parent.glob(".cifar*") if not p.name.endswith(".lock")]
        self.assertEqual(any(name.endswith(".part") for name in left), part, left)
        self.assertFalse([name for name in left if ".tmp." in name])

    def test_fetches_and_then_does_nothing(self):
        self.assert_ready(self.get())
        again = self.get()
        self.assert_ready(again)
        self.assertIn("is there and whole", again.stderr)
        self.assertEqual(len(self.server.requests), 1)

    def test_goes_on_where_a_download_broke_off(self):
        self.server.break_after = 40_000
        broken = self.get()
        self.assertNotEqual(broken.returncode, 0)
        self.assertIn("stopped at 40000 of", broken.stderr)
        self.assertFalse(self.dest.exists())
        self.assert_tidy(part=True)
        self.assert_ready(self.get())
        self.assertEqual(self.server.requests[-1], "bytes=40000-")

    def test_starts_again_where_the_server_cannot_resume(self):
        self.server.ranges, self.server.break_after = False, 40_000
        self.assertNotEqual(self.get().returncode, 0)
        self.assert_ready(self.get())

    def test_wrong_checksum_leaves_nothing(self):
        self.assert_refused(self.get(CIFAR100_MD5="0" * 32), "MD5 checksum", "expected " + "0" * 32, "removed")

    def test_wrong_size(self):
        self.assert_refused(self.get(CIFAR100_BYTES="1000"), "expected 1000")

    def test_options_beat_the_environment(self):
        done = self.get("--md5", hashlib.md5(self.server.archive).hexdigest(), CIFAR100_MD5="0" * 32)
        self.assert_ready(done)

    def test_local_archive(self):
        path = self.folder / "archive.tar.gz"
        path.write_bytes(self.server.archive)
        self.assert_ready(self.get("--archive", path))
        self.assertEqual(self.server.requests, [])
        self.assertTrue(path.exists())

    def test_local_archive_that_is_damaged(self):
        path = self.folder / "archive.tar.gz"
        path.write_bytes(self.server.archive[:-1] + b"x")
        self.assert_refused(self.get("--archive", path), "MD5 checksum", "nothing was unpacked")
        path.write_bytes(self.server.archive[:-1])
        self.assert_refused(self.get("--archive", path), "bytes; expected")
        self.assert_refused(self.get("--archive", self.folder / "none"), "no such file")

    def test_archives_that_hold_something_else(self):
        for archive, words in [
            (make_archive(folder="other"), "holds no folder cifar-100-binary"),
            (make_archive(train=bytes(100)), "train.bin has 100 bytes"),
            (make_archive(test=b""), "test.bin has 0 bytes"),
            (make_archive(names=False), "lacks a file of label names"),
            (b"no archive at all", "cannot unpack"),
        ]:
            with self.subTest(words):
                path = self.folder / "archive.tar.gz"
                path.write_bytes(archive)
                self.assert_refused(self.get("--archive", path, archive=archive), words)

    def test_missing_address(self):
        self.server.shutdown()
        self.server.server_close()
        done = self.get()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("the download stopped at 0 of", done.stderr)

    def test_a_folder_with_other_content_is_kept(self):
        self.assert_ready(self.get())
        (self.dest / "train.bin").write_bytes(b"mine")
        done = self.get()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("move it away first", done.stderr)
        self.assertEqual((self.dest / "train.bin").read_bytes(), b"mine")

    def test_an_empty_folder_is_filled(self):
        self.dest.mkdir(parents=True)
        self.assert_ready(self.get())

    def test_usage(self):
        self.assertEqual(self.get("--nonsense").returncode, 2)
        self.assertEqual(self.get("--archive").returncode, 2)
        self.assertIn("usage:", self.get("--help").stdout)


if __name__ == "__main__":
    unittest.main()
