//! What the monitor measures at a step.

use serde_json::{Value, json};

/// The gap of the probe's pairs in one frame. `None` is undefined for these data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// r, directions of the frame.
    pub rank: usize,
    /// ‖β‖, principal mean bias.
    pub pmb: f64,
    /// ‖γ‖, passive orthogonal bias.
    pub pob: f64,
    /// `‖γ(t) - γ(t0)‖ / ‖γ(t0)‖`, from t0 on.
    pub drift: Option<f64>,
    /// cos(γ(t), γ of the measurement before).
    pub stability: Option<f64>,
    /// Share of the gradients that leaves the frame, rms.
    pub leakage: Option<f64>,
    /// Trace of Σ_U, averaged over the window.
    pub trace_u: f64,
    /// Trace of Σ_V.
    pub trace_v: f64,
    /// Effective condition number of Σ_U.
    pub kappa_u: Option<f64>,
    /// Effective condition number of Σ_V.
    pub kappa_v: Option<f64>,
    /// ρ_eig, correlation of the spectra of Σ_U and of the gradients in the frame.
    pub spectral_lock: Option<f64>,
    /// Angle between γ and the first eigenvector of Σ_V, degrees.
    pub gamma_v1_deg: Option<f64>,
    /// ‖L‖₂ of the ridge map from the residual in U to that in V.
    pub coupling: Option<f64>,
    /// The share of the residual in V that the map explains.
    pub coupling_r2: Option<f64>,
}

/// How far from normal the residuals are, averaged over directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Mean magnitude of the skewness: 0 for a normal distribution.
    pub skewness: f64,
    /// Mean kurtosis: 3 for a normal distribution.
    pub kurtosis: f64,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// Optimiser steps done.
    pub step: u64,
    /// The training loss of the last batch.
    pub loss: f64,
    /// The temperature.
    pub temperature: f64,
    /// Whether the fixed frame is frozen; before, it is the frame of the moment.
    pub frozen: bool,
    /// ‖E x - E y‖.
    pub gap: f64,
    /// Trace of the images' covariance.
    pub trace_image: f64,
    /// Trace of the texts' covariance.
    pub trace_text: f64,
    /// How far the frame of the moment leans out of the fixed one: what bounds the leakage of gradients in the former [Lemma B.7].
    pub sin_theta: f64,
    /// In the fixed frame.
    pub fixed: View,
    /// In the frame of the moment.
    pub dynamic: View,
    /// Of the residuals in the fixed frame's U.
    pub shape_u: Option<Shape>,
    /// Of the residuals in its V; `None` also where there is no V.
    pub shape_v: Option<Shape>,
}

impl Record {
    /// `sin θ + ‖L‖₂`: the bound of the leakage with coupling, but for its remainder [Theorem C.3].
    pub fn coupled_bound(&self) -> Option<f64> {
        self.fixed.coupling.map(|l| self.sin_theta + l)
    }

    /// The record as an object; what is undefined is `null`.
    pub fn json(&self) -> Value {
        let shape = |s: Option<Shape>| s.map(|s| json!({"skewness": s.skewness, "kurtosis": s.kurtosis}));
        json!({
            "step": self.step, "loss": self.loss, "temperature": self.temperature, "frozen": self.frozen,
            "gap": self.gap, "trace_image": self.trace_image, "trace_text": self.trace_text,
            "sin_theta": self.sin_theta, "coupled_bound": self.coupled_bound(),
            "fixed": self.fixed.json(), "dynamic": self.dynamic.json(),
            "residual_u": shape(self.shape_u), "residual_v": shape(self.shape_v),
        })
    }
}

impl View {
    fn json(&self) -> Value {
        json!({
            "rank": self.rank, "pmb": self.pmb, "pob": self.pob, "drift": self.drift, "stability": self.stability,
            "leakage": self.leakage, "trace_u": self.trace_u, "trace_v": self.trace_v, "kappa_u": self.kappa_u,
            "kappa_v": self.kappa_v, "rho_eig": self.spectral_lock, "gamma_v1_deg": self.gamma_v1_deg,
            "coupling_norm": self.coupling, "coupling_r2": self.coupling_r2,
        })
    }
}
