package main

import (
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"
)

// samples keeps every number measured, and writes each as a line of JSON at
// once. It is safe for concurrent use.
type samples struct {
	mu       sync.Mutex // guards all below
	encoder  *json.Encoder
	err      error // the first of writing
	values   map[*figure]map[string][]float64
	subjects map[*figure][]string // in the order in which they came
}

// sample is a line of samples.jsonl.
type sample struct {
	Time    time.Time `json:"time"`
	Figure  string    `json:"figure"`
	Subject string    `json:"subject"`
	Value   float64   `json:"value"`
	Unit    string    `json:"unit"`
}

func newSamples(w io.Writer) *samples {
	return &samples{encoder: json.NewEncoder(w), values: map[*figure]map[string][]float64{}, subjects: map[*figure][]string{}}
}

// add keeps one number, in the unit of the figure.
func (s *samples) add(f *figure, subject string, value float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values[f] == nil {
		s.values[f] = map[string][]float64{}
	}
	if !slices.Contains(s.subjects[f], subject) {
		s.subjects[f] = append(s.subjects[f], subject)
	}
	s.values[f][subject] = append(s.values[f][subject], value)
	if err := s.encoder.Encode(sample{time.Now().UTC(), f.name, subject, value, f.unit}); err != nil && s.err == nil {
		s.err = err
	}
}

// duration keeps a time in milliseconds.
func (s *samples) duration(f *figure, subject string, d time.Duration) {
	s.add(f, subject, float64(d)/float64(time.Millisecond))
}

// of returns the summary of what was added.
func (s *samples) of(f *figure, subject string) summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	return summarise(s.values[f][subject])
}

// subjectsOf returns who was measured: the servers in their order, then others
// in the order in which they came.
func (s *samples) subjectsOf(f *figure) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sorted []string
	for _, subject := range append([]string{sandtrap, host, inside}, s.subjects[f]...) {
		if slices.Contains(s.subjects[f], subject) && !slices.Contains(sorted, subject) {
			sorted = append(sorted, subject)
		}
	}
	return sorted
}
