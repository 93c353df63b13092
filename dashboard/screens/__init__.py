"""Pages of the dashboard; Streamlit runs each as a script."""
