"""Where credentials come from: Secrets as files, the environment, plain files."""

from collections.abc import Mapping
from pathlib import Path

from llmcache_gateway.config import Credential, Problem, SecretFile, SecretRef


class Secrets:
    """Reads credentials, and collects what can't be read as problems of the configuration.

    A Secret's value is the file `folder/NAME/KEY`, the shape in which Kubernetes mounts Secrets.
    """

    def __init__(self, folder: Path | None, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self.problems: list[Problem] = []

    def credential(self, credential: Credential | None, path: str) -> str | None:
        """Return an upstream's key, or the file that it is made of.

        None when it has none, passes the client's on, is what its pod is, or can't be read.
        """
        if credential is None or credential.passthrough or credential.google_workload_identity:
            return None
        if credential.google_service_account is not None:
            found = self.file_of(credential.google_service_account, f"{path}.googleServiceAccount")
            return None if found is None else found[1]
        if credential.secret_ref is not None:
            return self.secret(credential.secret_ref, f"{path}.secretRef")
        if credential.env is not None:
            value = self._environment.get(credential.env)
            if value is None:
                self._problem(
                    f"{path}.env", f"the environment variable {credential.env} is not set: export the key in it"
                )
            return value and self._clean(value, f"{path}.env")
        return self._file(Path(credential.file or ""), f"{path}.file")

    def secret(self, ref: SecretRef, path: str) -> str | None:
        """Return a Secret's value of one line; None when it can't be read."""
        file = self._secret_file(ref, path)
        return None if file is None else self._file(file, path)

    def text(self, ref: SecretRef, path: str) -> str | None:
        """Return a Secret's value of more than one line, as it is; None when it can't be read."""
        file = self._secret_file(ref, path)
        return None if file is None else self._read(file, path)

    def file_of(self, source: SecretFile, path: str) -> tuple[Path, str] | None:
        """Return a file, such as a certificate or key, and its text; None when it can't be read."""
        if source.secret_ref is not None:
            path = f"{path}.secretRef"
            file = self._secret_file(source.secret_ref, path)
        else:
            path, file = f"{path}.file", Path(source.file or "")
        text = None if file is None else self._read(file, path)
        return None if file is None or text is None else (file, text)

    def _secret_file(self, ref: SecretRef, path: str) -> Path | None:
        if self._folder is None:
            self._problem(
                path, f"no folder to read Secrets from: give --secrets DIR with the file {ref.name}/{ref.key}"
            )
            return None
        return self._folder / ref.name / ref.key

    def _file(self, file: Path, path: str) -> str | None:
        text = self._read(file, path)
        return None if text is None else self._clean(text, path)

    def _read(self, file: Path, path: str) -> str | None:
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            self._problem(path, f"{file} can't be read: {reason}")
            return None

    def _clean(self, value: str, path: str) -> str | None:
        # Files made with an editor end with a line break, which no credential has.
        value = value.strip()
        if not value or not value.isprintable():
            self._problem(path, "it is empty" if not value else "it holds line breaks or control characters")
            return None
        return value

    def _problem(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))
