"""An echo bot in Python 3, with its standard library only. It does what bot.ts does, without threads.

It answers each private message:

    CHAT_PASSWORD=… python3 examples/bot.py 127.0.0.1 6000 echo

The bot registers its name when that is free. docs/PROTOCOL.md has the protocol.
"""
import collections
import json
import os
import random
import socket
import struct
import sys
import time

LOGIN, REGISTER, CHAT, DELIVERED, PING, PONG, NOTICE = 1, 4, 6, 21, 24, 25, 27
OK, FAILED, RATE_LIMITED, UNAVAILABLE = 0, 1, 8, 9

# The server sends a PING after 60 s of silence. A longer silence means a dead connection.
SILENCE_S = 90
MIN_BACKOFF_S, MAX_BACKOFF_S = 0.5, 30  # between two attempts, as the protocol advises
DEFAULT_RETRY_MS = 1_000  # for a refusal without retry_after

# A message that begins like this gets no answer, so that two echo bots do not talk for ever.
ANSWER = "you said: "
MAX_ECHO_CHARACTERS = 1_000  # far below the largest message, 64 KiB


class FatalError(Exception):
    """An error after which trying again is of no use."""


class Connection:
    """One connection: frames of a length in 4 bytes (big-endian) and a JSON object."""

    def __init__(self, host, port):
        self.sock = socket.create_connection((host, port), timeout=SILENCE_S)
        self.file = self.sock.makefile("rb")
        self.pushes = collections.deque()  # arrived while a reply was awaited
        self.last_rid = 0

    def close(self):
        self.file.close()
        self.sock.close()

    def send(self, message):
        body = json.dumps(message).encode()
        self.sock.sendall(struct.pack(">I", len(body)) + body)

    def request(self, message):
        """Sends a request and returns its reply. If the server is busy, waits and sends the request again."""
        while True:
            self.last_rid += 1
            self.send({**message, "rid": self.last_rid})
            reply = self.receive()
            while reply.get("rid") != self.last_rid:
                self.pushes.append(reply)
                reply = self.receive()
            if reply["errno"] not in (RATE_LIMITED, UNAVAILABLE):
                return reply
            time.sleep(reply.get("retry_after", DEFAULT_RETRY_MS) / 1_000)

    def push(self):
        """Returns the next message that is no reply."""
        return self.pushes.popleft() if self.pushes else self.receive()

    def receive(self):
        while True:
            (length,) = struct.unpack(">I", self.read(4))
            message = json.loads(self.read(length))
            if message["msgid"] == PING:
                self.send({"msgid": PONG})
            elif message["msgid"] == NOTICE and message["kind"] == "kicked":
                raise FatalError(message["errmsg"])  # to reconnect would take the account back, for ever
            else:
                return message

    def read(self, length):
        data = self.file.read(length)
        if len(data) < length:
            raise ConnectionError("the server closed the connection")
        return data


class Bot:
    def __init__(self, name, password):
        self.name = name
        self.password = password
        self.token = None  # of the session: it logs in again without the cost of a password's hash

    def log_in(self, connection):
        """Logs in by token, else by password; registers the name if that fails. Returns the reply."""
        by_password = {"msgid": LOGIN, "name": self.name, "password": self.password}
        reply = connection.request({"msgid": LOGIN, "token": self.token}) if self.token else None
        if reply is None or reply["errno"] != OK:
            reply = connection.request(by_password)
        if reply["errno"] == FAILED:
            registered = connection.request({**by_password, "msgid": REGISTER})
            if registered["errno"] != OK:
                raise FatalError(f"cannot register {self.name}: {registered['errmsg']}")
            reply = connection.request(by_password)
        if reply["errno"] != OK:
            raise ConnectionError(f"cannot log in as {self.name}: {reply['errmsg']}")
        self.token = reply["token"]
        return reply

    def answer(self, connection, message, epoch):
        """Answers one message, and confirms it after the answer is committed.

        If the bot ends in between, the server delivers the message again. The second answer then has the same
        `cid`, and the server stores only one.
        """
        sender, text, seq = message["id"], message["msg"], message["seq"]
        if not text.startswith(ANSWER):
            reply = connection.request({
                "msgid": CHAT,
                "toid": sender,
                "msg": ANSWER + text[:MAX_ECHO_CHARACTERS],
                "cid": f"{epoch}-{sender}-{seq}",
            })
            if reply["errno"] != OK:
                print(f"not answered: {reply['errmsg']}", file=sys.stderr)
        connection.send({"msgid": DELIVERED, "id": sender, "seq": seq})

    def run(self, host, port):
        failures = 0
        while True:
            connection = None
            try:
                connection = Connection(host, port)
                login = self.log_in(connection)
                print(f"logged in as {self.name} ({login['id']})", flush=True)
                failures = 0
                while True:
                    message = connection.push()
                    if message["msgid"] == CHAT:
                        self.answer(connection, message, login["epoch"])
            except OSError as error:  # of the connection, its silence among them
                print(f"connection lost: {error}", file=sys.stderr)
            finally:
                if connection:
                    connection.close()
            time.sleep(random.random() * min(MAX_BACKOFF_S, MIN_BACKOFF_S * 2 ** min(failures, 10)))
            failures += 1


def main(host="127.0.0.1", port="6000", name="echo"):
    try:
        Bot(name, os.environ.get("CHAT_PASSWORD", "")).run(host, int(port))
    except FatalError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
