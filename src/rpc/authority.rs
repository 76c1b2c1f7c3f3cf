//! Certificates for tests, made when they run, in files of a disk in memory.

use std::{path::Path, sync::Arc};

use rcgen::{date_time_ymd, BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::{
    env::{Disk, OpenMode, SimDisk},
    types::{TlsFiles, Trust},
};

/// An authority, and the disk that has its certificates.
pub(crate) struct Authority {
    pub(crate) disk: Arc<SimDisk>,
    name: &'static str,
    issuer: Issuer<'static, KeyPair>,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    Expired,
}

impl Authority {
    /// One of that name; its certificate is in a file on `disk`.
    pub(crate) fn new(disk: &Arc<SimDisk>, name: &'static str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        write(&**disk, &format!("{name}.ca"), &certificate.pem());
        Authority { disk: disk.clone(), name, issuer: Issuer::new(params, key) }
    }

    /// Where its own certificate is.
    pub(crate) fn ca(&self) -> TlsFiles {
        TlsFiles { ca: Some(format!("{}.ca", self.name).into()), ..TlsFiles::default() }
    }

    /// Believes this authority, without a certificate.
    pub(crate) fn trust(&self) -> Trust {
        Trust::Files(self.ca())
    }

    /// A certificate for a host, in files that are named after `file`.
    pub(crate) fn issue(&self, file: &str, host: &str, flaw: Flaw) -> TlsFiles {
        let mut params = CertificateParams::new(vec![host.to_string()]).unwrap();
        if flaw == Flaw::Expired {
            (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) = (format!("{}-{file}.cert", self.name), format!("{}-{file}.key", self.name));
        write(&*self.disk, &cert_file, &certificate.pem());
        write(&*self.disk, &key_file, &key.serialize_pem());
        TlsFiles { cert: Some(cert_file.into()), key: Some(key_file.into()), ..self.ca() }
    }
}

/// A file on a disk.
pub(crate) fn write(disk: &dyn Disk, name: &str, text: &str) {
    let file = disk.open(Path::new(name), OpenMode::CreateNew).unwrap();
    file.write_all_at(0, text.as_bytes()).unwrap();
}
