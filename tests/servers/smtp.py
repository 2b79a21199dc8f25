"""A server of mail: aiosmtpd with three ports. It writes each mail that it takes to a file, as Python's own parser understands it.

smtp.py FOLDER CERTIFICATE KEY: prints its ports as JSON, and runs until its standard input ends.
"""

import asyncio
import email
import email.policy
import json
import logging
import os
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

# It warns of what is meant here: passwords where it sees no TLS.
warnings.simplefilter("ignore")
logging.getLogger("mail.log").setLevel(logging.ERROR)

folder, certificate, key = sys.argv[1:4]
count = 0


class Handler:
    def __init__(self, kind):
        self.kind = kind

    async def handle_DATA(self, server, session, envelope):
        global count
        count += 1
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = {kind: mail.get_body(preferencelist=(kind,)).get_content() for kind in ("plain", "html")}
        told = {
            "kind": self.kind,
            "user": session.auth_data,
            "mail_from": envelope.mail_from,
            "rcpt_tos": envelope.rcpt_tos,
            "headers": {name: str(value) for name, value in mail.items()},
            "defects": [str(defect) for part in mail.walk() for defect in part.defects],
            **parts,
        }
        path = os.path.join(folder, f"{count}.json")
        with open(path + ".new", "w") as file:
            json.dump(told, file)
        os.rename(path + ".new", path)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    is_right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ops", b"hunter2")
    return AuthResult(success=is_right, handled=False, auth_data="ops" if is_right else None)


async def main():
    loop = asyncio.get_running_loop()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    login = {"authenticator": authenticate, "auth_required": True}
    options = {
        "plain": {},
        "starttls": {"tls_context": tls, "require_starttls": True, **login},
        # Its ssl module speaks TLS, and aiosmtpd does not know of that.
        "tls": {"auth_require_tls": False, **login},
    }
    ports = {}
    for kind, keywords in options.items():
        make = lambda kind=kind, keywords=keywords: SMTP(Handler(kind), hostname="mail.test", loop=loop, **keywords)
        server = await loop.create_server(make, "127.0.0.1", 0, ssl=tls if kind == "tls" else None)
        ports[kind] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
