//! Certificates and keys out of PEM files, with errors that name the setting and the file.

use std::path::Path;

use tokio_rustls::rustls::{
    pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer},
    Error as TlsError, RootCertStore,
};

use crate::{
    env::{Disk, OpenMode},
    error::{Error, ErrorCode, Result},
    limits::PEM_BYTES_MAX,
    types::TlsFiles,
};

/// The error for a file of the setting `tls`.
pub(super) fn bad(which: &str, why: &str) -> Error {
    Error::new(ErrorCode::BadSetting, format!("tls: {which} {why}"))
}

fn bad_file(which: &str, path: &Path, why: &str) -> Error {
    bad(which, &format!("{}: {why}", path.display()))
}

/// Our certificate with those above it, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The files of a setting, to be read.
pub(super) struct Files<'a> {
    pub(super) files: &'a TlsFiles,
    pub(super) disk: &'a dyn Disk,
}

impl Files<'_> {
    /// Whom to believe.
    ///
    /// # Errors
    /// `BAD_SETTING`: there is no file `ca`, it cannot be read, or holds no authority.
    pub(super) fn authorities(&self) -> Result<RootCertStore> {
        let path =
            self.files.ca.as_deref().ok_or_else(|| bad("ca", "is missing: without it nobody can be believed"))?;
        let mut believed = RootCertStore::empty();
        for certificate in self.certificates("ca", path)? {
            believed.add(certificate).map_err(|error| bad_file("ca", path, &format!("is no authority: {error}")))?;
        }
        Ok(believed)
    }

    /// Who we are; `None`: we have no certificate.
    ///
    /// # Errors
    /// `BAD_SETTING`: one of the two files is missing, cannot be read, or holds something else.
    pub(super) fn identity(&self) -> Result<Option<Identity>> {
        let (cert, key) = match (self.files.cert.as_deref(), self.files.key.as_deref()) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            (Some(_), None) => return Err(bad("key", "is missing: cert is of no use without it")),
            (None, Some(_)) => return Err(bad("cert", "is missing: key is of no use without it")),
        };
        let chain = self.certificates("cert", cert)?;
        let parsed = PrivateKeyDer::from_pem_slice(&self.read("key", key)?);
        // The error of the parser may repeat bytes of the key.
        let parsed =
            parsed.map_err(|_| bad_file("key", key, "it holds no PEM private key, or one that is encrypted"))?;
        Ok(Some((chain, parsed)))
    }

    /// Why a certificate and a key that could be read are of no use together.
    pub(super) fn unfit(&self, error: &TlsError) -> Error {
        let path = self.files.key.as_deref().unwrap_or_else(|| Path::new(""));
        bad_file("key", path, &format!("it does not fit cert, or is of an unknown kind: {error}"))
    }

    fn certificates(&self, which: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
        let bytes = self.read(which, path)?;
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let parsed = parsed.map_err(|error| bad_file(which, path, &format!("it is no PEM file: {error}")))?;
        if parsed.is_empty() {
            return Err(bad_file(which, path, "it holds no PEM certificate"));
        }
        Ok(parsed)
    }

    fn read(&self, which: &str, path: &Path) -> Result<Vec<u8>> {
        let read = || {
            let file = self.disk.open(path, OpenMode::Read)?;
            let length = file.len()?.min(PEM_BYTES_MAX + 1);
            let mut bytes = vec![0; length as usize];
            let found = file.read_at(0, &mut bytes)?;
            bytes.truncate(found);
            Ok::<_, std::io::Error>(bytes)
        };
        let bytes = read().map_err(|error| bad_file(which, path, &format!("it cannot be read: {error}")))?;
        if bytes.len() as u64 > PEM_BYTES_MAX {
            return Err(bad_file(which, path, &format!("it has more than {PEM_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }
}
