"""Decision-focused portfolio choice on the prices of twenty large American companies, 1990 to 2022.

Every h trading days an investor who holds the weights w- forecasts the next returns, mu, estimates their covariance,
Sigma = R'R, from the past, and trades to the weights (Markowitz, 1952)

    w(mu, R, w-) = argmax  mu'w - gamma/2 |R w|^2 - kappa |w - w-|^2    subject to  1'w = 1,  0 <= w <= limit,

where kappa |w - w-|^2 is the price impact paid for the trade (Garleanu and Pedersen, 2013). When the returns r have come
in, the period has earned e = r'w - kappa |w - w-|^2, and is worth u = e - gamma/2 e^2 to the investor. The same small
network forecasts mu from the past of each stock, and is trained in two ways:

    two-stage           minimise the squared error of the forecasts, then decide;
    decision-focused    go on from there and maximise the mean of u, with the gradient taken through the optimization
                        layer w(mu, R, w-), over several periods in a row, since today's weights are tomorrow's w-.

Decision-focused learning is due to Donti, Amos and Kolter (2017) and Elmachtoub and Grigas (2022). Beside the two stand
the weights of least risk (mu = 0), which need no forecast, and equal weights, which need no optimization.

No result may know the future: the years are split, in order, into training, validation and test; forecasts and
covariances end on the day before the trade; features are standardised by their training means; the epoch that is kept is the
best on validation, and so were the learning rates chosen. The test years are read once, at the end. All
twenty companies survived to 2022, which flatters every strategy; differences between strategies suffer less from it.

Data: `skfolio.datasets.load_sp500_dataset`, daily adjusted closing prices that come inside the package skfolio (BSD-3).

    H. Markowitz, Portfolio selection, Journal of Finance 7, 1952.
    N. Garleanu, L. H. Pedersen, Dynamic trading with predictable returns and transaction costs, Journal of Finance 68, 2013.
    P. Donti, B. Amos, J. Z. Kolter, Task-based end-to-end model learning in stochastic optimization, NeurIPS 2017.
    A. Elmachtoub, P. Grigas, Smart "predict, then optimize", Management Science 68, 2022.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cvxpy as cp
import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from skfolio.datasets import load_sp500_dataset
from tqdm import tqdm

from optlayers.torch import CvxpyLayer

DAYS_A_YEAR = 252
Policy = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(days, weights held before the trade) -> weights after it."""


@dataclass(frozen=True)
class Config:
    """The experiment.

    Days are trading days. `impact` is kappa: a trade of 5% of the wealth in one stock moves its price by 10 basis points.
    """

    seeds: int = 5
    period: int = 10
    risk_aversion: float = 5.0
    impact: float = 0.02
    limit: float = 0.2
    train_until: str = "2006-12-31"
    validate_until: str = "2013-12-31"
    lookback: int = 252
    shrinkage: float = 0.1
    hidden: int = 16
    forecast_epochs: int = 30
    forecast_rate: float = 1e-3
    decision_epochs: int = 20
    decision_rate: float = 1e-3
    segments: int = 8
    horizon: int = 4


@dataclass(frozen=True)
class Market:
    """What is known on each day before its trade, and the returns of the period after it: (day, stock, ...)."""

    dates: pd.DatetimeIndex
    features: torch.Tensor
    roots: torch.Tensor
    returns: torch.Tensor
    train: range
    validate: range
    test: range


def past_features(prices: pd.DataFrame) -> np.ndarray:
    """(day, stock, feature): scaled past returns, volatilities, distance from the high; then their market means."""
    logs = np.log(prices)
    daily = logs.diff()
    volatility = daily.rolling(DAYS_A_YEAR).std()
    momentum = [logs.diff(days) / (volatility * days**0.5) for days in (5, 21, 63, 126, 252)]
    spread = [np.log(volatility), np.log(daily.rolling(21).std() / volatility)]
    high = (logs - logs.rolling(DAYS_A_YEAR).max()) / volatility
    own = np.stack([*momentum, *spread, high], axis=-1)
    return np.concatenate([own, np.broadcast_to(own.mean(axis=1, keepdims=True), own.shape)], axis=-1)


def covariance_roots(daily: np.ndarray, config: Config) -> np.ndarray:
    """R with R'R the covariance of a period's returns, from each window of `lookback` days, shrunk to its diagonal."""
    windows = np.lib.stride_tricks.sliding_window_view(daily, config.lookback, axis=0)
    covariance = config.period * windows @ windows.swapaxes(1, 2) / config.lookback
    diagonal = covariance * np.eye(covariance.shape[1])
    shrunk = (1 - config.shrinkage) * covariance + config.shrinkage * diagonal
    return np.linalg.cholesky(shrunk).swapaxes(1, 2)


def load_market(config: Config) -> Market:
    prices = load_sp500_dataset()
    daily = prices.pct_change().to_numpy()[1:]
    first, last = config.lookback + 1, len(prices) - config.period
    decided = prices.index[first:last]
    known = slice(first - 1, last - 1)
    train = range(int(np.searchsorted(decided, pd.Timestamp(config.train_until))) - config.period)
    middle = int(np.searchsorted(decided, pd.Timestamp(config.validate_until)))
    features = past_features(prices)[known]
    features = (features - features[train].mean(axis=(0, 1))) / features[train].std(axis=(0, 1))
    closes = prices.to_numpy()
    return Market()
