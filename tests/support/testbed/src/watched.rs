//! A file that Envoy watches for resources: listeners (LDS), or the configuration of a filter (ECDS).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{json, Value};

use crate::{leaks, Directory};

/// A file with one resource, in a directory of its own.
#[derive(Debug)]
pub struct Watched {
    file: PathBuf,
    directory: Directory,
}

impl Watched {
    /// Creates the file with this resource, which names its type in `@type`.
    pub fn create(resource: &Value) -> io::Result<Self> {
        let directory = Directory::create()?;
        let watched = Self { file: directory.file("resource.json"), directory };
        watched.publish(resource)?;
        Ok(watched)
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Replaces the resource.
    pub fn publish(&self, resource: &Value) -> io::Result<()> {
        leaks::register_configuration(&resource.to_string());
        // Envoy reads a watched file when a rename replaces it.
        let new = self.directory.file("new.json");
        fs::write(&new, json!({ "resources": [resource] }).to_string())?;
        fs::rename(new, &self.file)
    }

    /// The entry of `http_filters` whose configuration is in the file (ECDS). `name` is the resource's name.
    pub fn filter(&self, name: &str) -> Value {
        json!({
            "name": name,
            "config_discovery": {
                "config_source": { "path_config_source": { "path": self.file }, "resource_api_version": "V3" },
                "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
            },
        })
    }
}
