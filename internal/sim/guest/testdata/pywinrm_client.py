"""Talks to the simulated guest with pywinrm: an implementation of WinRM that shares no code with ours."""
import sys
import urllib3
import winrm
urllib3.disable_warnings()
url, user, password, transport = sys.argv[1:5]
s = winrm.Session(url, auth=(user, password), transport=transport, server_cert_validation="ignore",
                  operation_timeout_sec=5, read_timeout_sec=30)
r = s.run_cmd("echo", ["hello", "from", "python"])
print("cmd", r.status_code, r.std_out.decode().strip())
r = s.run_cmd("exit 7")
print("exit", r.status_code)
r = s.run_ps("Write-Output 'posh'\nexit 3")
print("ps", r.status_code, r.std_out.decode().strip())
try:
    winrm.Session(url, auth=(user, "wrong-not-real"), transport=transport, server_cert_validation="ignore").run_cmd("ver")
    print("wrong password accepted")
except winrm.exceptions.InvalidCredentialsError:
    print("wrong password refused")
