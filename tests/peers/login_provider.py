"""A login provider by oidc-provider-mock, which is made of Authlib: whoever logs in says who that is. It checks the code, the
verifier and where it leads back to, and signs with RSA."""

import sys

from oidc_provider_mock import User, run_server_in_thread

BOB = User(sub="7", claims={"email": "b@corp.example", "email_verified": True})


def main():
    with run_server_in_thread(require_nonce=True, user_claims=[BOB]) as server:
        print(f"http://localhost:{server.server_port}", flush=True)
        # Until there is nobody who could ask.
        sys.stdin.read()


if __name__ == "__main__":
    main()
